/* SPDX-License-Identifier: ISC */
#include "name.h"

#include <string.h>

bool
name_is_valid(const char *text, size_t len)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "abcdefghijklmnopqrstuvwxyz"
				      "0123456789._-";
	size_t i;

	if (len < 1 || len > NAME_MAX_LENGTH)
		return false;
	for (i = 0; i < len; i++)
		if (memchr(allowed, text[i], sizeof allowed - 1) == NULL)
			return false;
	return true;
}
