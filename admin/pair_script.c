/* SPDX-License-Identifier: ISC */
#include "pair_script.h"

#include <stdio.h>
#include <string.h>

/* What is pasted has no tabs, which would complete words. The space before
 * the first line keeps the secret out of the history of a shell that has
 * HISTCONTROL=ignorespace or ignoreboth, as Debian's do. */
static const char script_begin
    [] = " $(command -v sudo) sh -eu <<'END_OF_PAIR'\n"
	 "umask 027\n"
	 "conf=" PAIR_DIRECTORY "tunnels.conf\n"
	 "new=$conf.%s\n"
	 "secret=%s\n"
	 "own() { if getent group " PAIR_USER " >/dev/null; then\n"
	 "  chgrp " PAIR_USER " \"$@\"; fi; }\n"
	 "fail() { echo \"pair: $1; nothing was changed\" >&2; exit 1; }\n"
	 "[ \"$(id -u)\" = 0 ] || fail 'this is for root'\n"
	 "[ ! -e $secret ] || fail \"$secret is there already\"\n"
	 "[ ! -e $new ] || fail \"$new is there already\"\n"
	 "command -v tunneld >/dev/null || fail 'tunneld is not installed'\n"
	 "[ -d " PAIR_DIRECTORY " ] || mkdir -m 0755 " PAIR_DIRECTORY "\n"
	 "[ -d " PAIR_SECRETS " ] || { mkdir -m 0750 " PAIR_SECRETS
	 "; own " PAIR_SECRETS "; }\n"
	 "trap 'rm -f $secret $new' EXIT\n"
	 "echo '%s' > $secret\n"
	 "cat > $new <<'END_OF_CONF'\n";

/* In use is what has an address or another file in it, comments aside. */
static const char script_end[] =
    "END_OF_CONF\n"
    "own $secret $new\n"
    "if id -u " PAIR_USER " >/dev/null 2>&1; then\n"
    "  sed -i '1s/ };$/ user = \"" PAIR_USER "\"; };/' $new; fi\n"
    "tunneld -t -c $new >/dev/null || fail 'see above'\n"
    "trap - EXIT\n"
    "if grep -Eqs '^[^#]*(listen|connect|secret_file|@include)' $conf; then\n"
    "  echo \"pair: the secret is in place. $conf is in use, so add to it"
    " what is in $new: sections that it lacks, and the entries of peers and"
    " tunnels. Then: tunneld -t && tunnelctl reload && rm $new\"\n"
    "else\n"
    "  [ ! -e $conf ] || cp -p $conf $conf.old\n"
    "  mv $new $conf\n"
    "  echo 'pair: %s is set up. Now: systemctl restart tunneld'\n"
    "fi\n"
    "END_OF_PAIR\n";

void
pair_script(const struct pair_side *side, const char *secret,
    char buf[PAIR_SCRIPT_SIZE])
{
	size_t len;

	snprintf(buf, PAIR_SCRIPT_SIZE, script_begin, side->other,
	    side->secret_file, secret);
	len = strlen(buf);
	snprintf(buf + len, PAIR_SCRIPT_SIZE - len, "%s", side->config);
	len = strlen(buf);
	snprintf(buf + len, PAIR_SCRIPT_SIZE - len, script_end, side->name);
}
