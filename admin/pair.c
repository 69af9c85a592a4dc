/* SPDX-License-Identifier: ISC */
#include "pair.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "addr.h"
#include "auth.h"
#include "name.h"
#include "pair_script.h"
#include "secret.h"

/* --- secret ------------------------------------------------------------- */

static int
write_line(int fd, const char *text)
{
	char line[SECRET_TEXT_SIZE + 1];
	int len = snprintf(line, sizeof line, "%s\n", text);
	ssize_t n = write(fd, line, (size_t)len);

	auth_wipe(line, sizeof line);
	if (n >= 0 && n < len)
		errno = ENOSPC;
	return n == len && fchmod(fd, 0600) == 0 && fsync(fd) == 0 ? 0 : -1;
}

/* Never over a file that is there: it may be the only copy of a secret. */
static int
write_secret(const char *path, const char *text, char *error, size_t error_size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd == -1) {
		snprintf(error, error_size, "%s: %s", path,
		    errno == EEXIST ? "exists and is left as it is" :
				      strerror(errno));
		return -1;
	}
	if (write_line(fd, text) != 0) {
		snprintf(error, error_size, "%s: %s", path, strerror(errno));
		close(fd);
		unlink(path);
		return -1;
	}
	close(fd);
	return 0;
}

int
pair_secret(struct output *out, const char *file, char *error,
    size_t error_size)
{
	char text[SECRET_TEXT_SIZE];
	json_t *object;
	int result = 0;

	secret_make(text);
	if (file == NULL) {
		object = json_pack("{s:s}", "secret", text);
		if (!output_whole(out, object))
			output_text(out, "%s", text);
	} else {
		result = write_secret(file, text, error, error_size);
		object = json_pack("{s:s}", "secret_file", file);
		if (result == 0)
			output_whole(out, object);
	}
	auth_wipe(text, sizeof text);
	json_decref(object);
	return result;
}

/* --- pair --------------------------------------------------------------- */

static int
check_name(const char *name, const char *what, char *error, size_t error_size)
{
	if (name_is_valid(name, strlen(name)) && strcmp(name, ".") != 0 &&
	    strcmp(name, "..") != 0)
		return 0;
	snprintf(error, error_size,
	    "%s has 1 to %d of the characters "
	    "A-Z a-z 0-9 . _ -",
	    what, NAME_MAX_LENGTH);
	return -1;
}

static int
check_address(const char *text, struct addr *addr, char *error,
    size_t error_size)
{
	const char *why = NULL;

	if (addr_parse(text, addr, &why) != 0)
		snprintf(error, error_size, "%s: %s", text, why);
	else if (addr->kind != ADDR_INET || addr->host[0] == '\0')
		snprintf(error, error_size,
		    "%s: must be HOST:PORT, the host "
		    "as the client reaches this machine",
		    text);
	else if (addr->port == 0)
		snprintf(error, error_size, "%s: port 0 is no port", text);
	else
		return 0;
	return -1;
}

/* As daemon.name defaults. */
static int
own_name(char *buf, size_t size)
{
	if (gethostname(buf, size) != 0)
		return -1;
	buf[size - 1] = '\0';
	buf[strcspn(buf, ".")] = '\0';
	return buf[0] == '\0' ? -1 : 0;
}

static void
write_server(struct pair_side *server, const struct addr *addr)
{
	snprintf(server->config, sizeof server->config,
	    "daemon  = { name = \"%s\"; };\n"
	    "gateway = { listen = [ \":%u\" ]; };\n"
	    "peers   = (\n"
	    "  { name = \"%s\";\n"
	    "    secret_file = \"%s\"; }\n"
	    ");\n"
	    "tunnels = (\n"
	    "  # Users of port 2222 here reach the ssh service of %s.\n"
	    "  { name = \"ssh\"; peer = \"%s\"; listen = \":2222\"; }\n"
	    ");\n",
	    server->name, addr->port, server->other, server->secret_file,
	    server->other, server->other);
}

static void
write_client(struct pair_side *client, const struct addr *addr)
{
	char text[ADDR_TEXT_SIZE];

	snprintf(client->config, sizeof client->config,
	    "daemon  = { name = \"%s\"; };\n"
	    "peers   = (\n"
	    "  { name = \"%s\"; connect = \"%s\";\n"
	    "    secret_file = \"%s\"; }\n"
	    ");\n"
	    "tunnels = (\n"
	    "  { name = \"ssh\"; peer = \"%s\"; connect = \"127.0.0.1:22\"; }\n"
	    ");\n",
	    client->name, client->other, addr_format(addr, text, sizeof text),
	    client->secret_file, client->other);
}

static void
print_text(const struct pair_side *server, const struct pair_side *client,
    const char *host, char scripts[2][PAIR_SCRIPT_SIZE])
{
	printf("### %s (this machine): paste this into a shell, of root or of "
	       "who may sudo\n\n%s\n",
	    server->name, scripts[0]);
	printf("### %s (with tunneld installed): paste this\n\n%s\n",
	    client->name, scripts[1]);
	printf("### Both, then:\n\n"
	       "sudo systemctl restart tunneld\n"
	       "sudo tunnelctl status\n\n"
	       "# From anywhere, `ssh -p 2222 USER@%s` is %s then.\n"
	       "# Whoever has the secret can pose as either machine: keep no "
	       "copy of this.\n",
	    host, client->name);
}

static void
print_both(struct output *out, const struct pair_side *server,
    const struct pair_side *client, const struct addr *addr)
{
	char secret[SECRET_TEXT_SIZE], scripts[2][PAIR_SCRIPT_SIZE];
	json_t *object;

	secret_make(secret);
	pair_script(server, secret, scripts[0]);
	pair_script(client, secret, scripts[1]);
	object = json_pack("{s:{s:s, s:s, s:s, s:s}, s:{s:s, s:s, s:s, s:s}, "
			   "s:s}",
	    "server", "name", server->name, "config", server->config,
	    "secret_file", server->secret_file, "script", scripts[0], "client",
	    "name", client->name, "config", client->config, "secret_file",
	    client->secret_file, "script", scripts[1], "secret", secret);
	if (!output_whole(out, object))
		print_text(server, client, addr->host, scripts);
	json_decref(object);
	auth_wipe(scripts, sizeof scripts);
	auth_wipe(secret, sizeof secret);
}

int
pair_print(struct output *out, const struct pair_names *names, char *error,
    size_t error_size)
{
	struct pair_side server = { .name = names->server };
	struct pair_side client = { .name = names->client };
	char host[256];
	struct addr addr;

	if (check_name(client.name, "the client's name", error, error_size) !=
		0 ||
	    check_address(names->address, &addr, error, error_size) != 0)
		return -1;
	if (server.name == NULL) {
		if (own_name(host, sizeof host) != 0) {
			snprintf(error, error_size,
			    "this machine has no host "
			    "name: give --name NAME");
			return -1;
		}
		server.name = host;
	}
	if (check_name(server.name, "the server's name (--name)", error,
		error_size) != 0)
		return -1;
	if (strcmp(server.name, client.name) == 0) {
		snprintf(error, error_size,
		    "both machines would be called "
		    "%s: give this one another name with --name",
		    client.name);
		return -1;
	}
	server.other = client.name;
	client.other = server.name;
	snprintf(server.secret_file, sizeof server.secret_file,
	    PAIR_SECRETS "%s", server.other);
	snprintf(client.secret_file, sizeof client.secret_file,
	    PAIR_SECRETS "%s", client.other);
	write_server(&server, &addr);
	write_client(&client, &addr);
	print_both(out, &server, &client, &addr);
	return 0;
}
