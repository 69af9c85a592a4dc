# SPDX-License-Identifier: ISC
# Completion of tunnelctl in bash 4 and later. tunnelctl itself knows the
# words; here they only reach the shell.

_tunnelctl() {
	local line

	COMPREPLY=()
	while IFS= read -r line; do
		if [ "$line" = :files ]; then
			compopt -o default 2>/dev/null
		else
			COMPREPLY+=("$line")
		fi
	done < <("${COMP_WORDS[0]}" complete-words line -- \
	    "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
	# A list goes on behind a comma.
	case ${COMP_WORDS[COMP_CWORD - 1]} in
	--columns | --kind) compopt -o nospace 2>/dev/null ;;
	esac
	return 0
}

complete -F _tunnelctl tunnelctl
