/* SPDX-License-Identifier: ISC */
#include "actions.h"

#include <stdio.h>
#include <string.h>

/* clang-format off */

/* The same as etc/completion/, which tests/lint/commands checks. */
static const char bash[] =
	"# SPDX-License-Identifier: ISC\n"
	"# Completion of tunnelctl in bash 4 and later. tunnelctl itself knows the\n"
	"# words; here they only reach the shell.\n"
	"\n"
	"_tunnelctl() {\n"
	"\tlocal line\n"
	"\n"
	"\tCOMPREPLY=()\n"
	"\twhile IFS= read -r line; do\n"
	"\t\tif [ \"$line\" = :files ]; then\n"
	"\t\t\tcompopt -o default 2>/dev/null\n"
	"\t\telse\n"
	"\t\t\tCOMPREPLY+=(\"$line\")\n"
	"\t\tfi\n"
	"\tdone < <(\"${COMP_WORDS[0]}\" complete-words line -- \\\n"
	"\t    \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null)\n"
	"\t# A list goes on behind a comma.\n"
	"\tcase ${COMP_WORDS[COMP_CWORD - 1]} in\n"
	"\t--columns | --kind) compopt -o nospace 2>/dev/null ;;\n"
	"\tesac\n"
	"\treturn 0\n"
	"}\n"
	"\n"
	"complete -F _tunnelctl tunnelctl\n";

static const char zsh[] =
	"#compdef tunnelctl\n"
	"# SPDX-License-Identifier: ISC\n"
	"# Completion of tunnelctl in zsh. tunnelctl itself knows the words; here they\n"
	"# only reach the shell.\n"
	"\n"
	"local -a found\n"
	"\n"
	"found=(${(f)\"$($words[1] complete-words line -- \\\n"
	"    \"${(@Q)words[2,CURRENT]}\" 2>/dev/null)\"})\n"
	"if (( ${found[(Ie):files]} )); then\n"
	"\t[[ $PREFIX == --*=* ]] && compset -P '*='\n"
	"\t_files\n"
	"elif [[ ${words[CURRENT-1]} == (--columns|--kind) ]]; then\n"
	"\tcompadd -S '' -a found\n"
	"else\n"
	"\tcompadd -a found\n"
	"fi\n";

/* clang-format on */

int
action_completion(struct context *context)
{
	if (strcmp(context->args[0], "bash") == 0)
		fputs(bash, stdout);
	else if (strcmp(context->args[0], "zsh") == 0)
		fputs(zsh, stdout);
	else {
		commands_error(context,
		    "there is no script for '%s'; there are: bash, zsh",
		    context->args[0]);
		return EXIT_USAGE;
	}
	return EXIT_DONE;
}
