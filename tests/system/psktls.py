# SPDX-License-Identifier: ISC
"""TLS 1.3 with an external key, which Python's ssl cannot do before 3.13: by
the library that the daemon uses, too."""

import contextlib
import ctypes
import select
import socket
import threading

LABEL = b"EXPERIMENTAL tunneld/1 link"
TLS1_3 = 0x0304
SUITE = b"\x13\x01"
VERIFY_PEER = 1
SET_MIN, SET_MAX = 123, 124
WANT_READ, WANT_WRITE, ERROR_ZERO_RETURN = 2, 3, 6

_ssl = ctypes.CDLL("libssl.so.3")
_crypto = ctypes.CDLL("libcrypto.so.3")
_POINTERS = """TLS_client_method TLS_server_method SSL_CTX_new SSL_new
    SSL_SESSION_new SSL_CIPHER_find"""
for _name in _POINTERS.split():
    getattr(_ssl, _name).restype = ctypes.c_void_p

USE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p,
                       ctypes.POINTER(ctypes.c_void_p),
                       ctypes.POINTER(ctypes.c_size_t),
                       ctypes.POINTER(ctypes.c_void_p))
FIND = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p,
                        ctypes.c_size_t, ctypes.POINTER(ctypes.c_void_p))


class TlsSocket:
    """A socket whose handshake is done; blocking. With `name` it is the end
    that dialled. One thread may read while another one writes."""

    def __init__(self, sock, secret, name=None):
        self.sock = sock
        self.secret = secret
        self.name = ctypes.create_string_buffer(name) if name else None
        self.ctx = ctypes.c_void_p(_ssl.SSL_CTX_new(ctypes.c_void_p(
            _ssl.TLS_client_method() if name else _ssl.TLS_server_method())))
        for what in (SET_MIN, SET_MAX):
            _ssl.SSL_CTX_ctrl(self.ctx, what, ctypes.c_long(TLS1_3), None)
        _ssl.SSL_CTX_set_ciphersuites(self.ctx, b"TLS_AES_128_GCM_SHA256")
        _ssl.SSL_CTX_set_num_tickets(self.ctx, ctypes.c_size_t(0))
        if name:
            self.callback = USE(self.use)
            _ssl.SSL_CTX_set_psk_use_session_callback(self.ctx, self.callback)
            _ssl.SSL_CTX_set_verify(self.ctx, VERIFY_PEER, None)
        else:
            self.callback = FIND(self.find)
            _ssl.SSL_CTX_set_psk_find_session_callback(self.ctx,
                                                       self.callback)
        self.ssl = ctypes.c_void_p(_ssl.SSL_new(self.ctx))
        self.timeout = sock.gettimeout()
        self.lock = threading.Lock()
        self.closed = False
        sock.setblocking(False)
        _ssl.SSL_set_fd(self.ssl, sock.fileno())
        self.call(_ssl.SSL_connect if name else _ssl.SSL_accept)

    def call(self, function, *args):
        """Repeats it until it is done: what it returns, 0 at the end."""
        poll = select.poll()
        while True:
            with self.lock:
                if self.closed:     # its number may be another's by now
                    raise ConnectionResetError("TLS: closed")
                done = function(self.ssl, *args)
                if done > 0:
                    return done
                error = _ssl.SSL_get_error(self.ssl, done)
                _crypto.ERR_clear_error()
                if error == ERROR_ZERO_RETURN:
                    return 0
                if error not in (WANT_READ, WANT_WRITE):
                    raise ConnectionResetError("TLS: error %d" % error)
                poll.register(self.sock, select.POLLIN if error == WANT_READ
                              else select.POLLOUT)
            if not poll.poll(self.timeout and self.timeout * 1000):
                raise TimeoutError("TLS")

    def session(self, ssl):
        session = ctypes.c_void_p(_ssl.SSL_SESSION_new())
        cipher = ctypes.c_void_p(_ssl.SSL_CIPHER_find(ctypes.c_void_p(ssl),
                                                      SUITE))
        _ssl.SSL_SESSION_set1_master_key(session, self.secret,
                                         ctypes.c_size_t(len(self.secret)))
        _ssl.SSL_SESSION_set_cipher(session, cipher)
        _ssl.SSL_SESSION_set_protocol_version(session, TLS1_3)
        return session.value

    def use(self, ssl, md, identity, length, session):
        identity[0] = ctypes.addressof(self.name)
        length[0] = len(self.name.value)
        session[0] = self.session(ssl)
        return 1

    def find(self, ssl, identity, length, session):
        session[0] = self.session(ssl)
        return 1

    def link_key(self):
        key = ctypes.create_string_buffer(32)
        assert _ssl.SSL_export_keying_material(
            self.ssl, key, ctypes.c_size_t(32), LABEL,
            ctypes.c_size_t(len(LABEL)), None, ctypes.c_size_t(0), 0) == 1
        return key.raw

    def recv(self, count):
        data = ctypes.create_string_buffer(count)
        got = self.call(_ssl.SSL_read, data, count)
        return data.raw[:got]

    def sendall(self, data):
        # Without SSL_MODE_ENABLE_PARTIAL_WRITE it is all or nothing.
        if data:
            self.call(_ssl.SSL_write, bytes(data), len(data))

    def shutdown(self, how):
        """Of the connection, without a word of TLS."""
        self.sock.shutdown(how)

    def close(self):
        """What the library holds goes with the process: a thread may be in
        it, which shutdown() wakes."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        with self.lock:
            self.closed = True
            self.sock.close()
