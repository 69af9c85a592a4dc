/* SPDX-License-Identifier: ISC */
#include "actions.h"

#include <stdint.h>
#include <string.h>

#include "ask.h"

#define REAL_DIGITS 12
#define INDENT 2

/* As libconfig reads it back: \xNN for what is not printable ASCII. */
static void
print_string(const char *text)
{
	putchar('"');
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			printf("\\x%02x", c);
		else
			putchar(c);
	}
	putchar('"');
}

static void
print_real(double value)
{
	char text[40];

	snprintf(text, sizeof text, "%.*g", REAL_DIGITS, value);
	/* Without a point it would be an integer. */
	printf("%s%s", text, text[strcspn(text, ".e")] == '\0' ? ".0" : "");
}

static void
print_array(const json_t *array)
{
	size_t n = json_array_size(array);
	const char *text;

	printf("[ ");
	for (size_t i = 0; i < n; i++) {
		text = json_string_value(json_array_get(array, i));
		print_string(text != NULL ? text : "");
		printf(i + 1 < n ? ", " : " ");
	}
	putchar(']');
}

static void
print_value(const json_t *value)
{
	json_int_t n;

	switch (json_typeof(value)) {
	case JSON_STRING:
		print_string(json_string_value(value));
		break;
	case JSON_INTEGER:
		n = json_integer_value(value);
		printf("%" JSON_INTEGER_FORMAT "%s", n,
		    n > INT32_MAX || n < INT32_MIN ? "L" : "");
		break;
	case JSON_REAL:
		print_real(json_real_value(value));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		printf(json_is_true(value) ? "true" : "false");
		break;
	case JSON_ARRAY:
		print_array(value);
		break;
	default:
		break;
	}
}

/* Whether there is something to set. */
static bool
is_set(const json_t *value)
{
	const char *key;
	json_t *member;

	if (json_is_array(value))
		return json_array_size(value) > 0;
	if (!json_is_object(value))
		return value != NULL && !json_is_null(value);
	json_object_foreach((json_t *)value, key,
	    member) if (is_set(member)) return true;
	return false;
}

static void
print_members(const json_t *group, int indent)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)group, key, value)
	{
		if (json_is_object(value) && is_set(value)) {
			printf("%*s%s = {\n", indent, "", key);
			print_members(value, indent + INDENT);
			printf("%*s};\n", indent, "");
		} else if (is_set(value)) {
			printf("%*s%s = ", indent, "", key);
			print_value(value);
			printf(";\n");
		} else {
			printf("%*s# %s is not set\n", indent, "", key);
		}
	}
}

/* peers and tunnels: a list of groups, in which an error is found by line. */
static void
print_list(const char *key, const json_t *list)
{
	size_t n = json_array_size(list);

	printf("%s = (\n", key);
	for (size_t i = 0; i < n; i++) {
		printf("%*s{\n", INDENT, "");
		print_members(json_array_get(list, i), 2 * INDENT);
		printf("%*s}%s\n", INDENT, "", i + 1 < n ? "," : "");
	}
	printf(");\n");
}

static int
take_config(json_t *data, void *arg)
{
	const char *key;
	json_t *value;

	if (output_whole(arg, data))
		return 0;
	json_object_foreach(data, key, value)
	{
		if (json_is_array(value)) {
			print_list(key, value);
		} else if (is_set(value)) {
			printf("%s = {\n", key);
			print_members(value, INDENT);
			printf("};\n");
		} else {
			printf("# %s is not set\n", key);
		}
	}
	return 0;
}

int
action_config(struct context *context)
{
	return ask_object(context, NULL, NULL, take_config, context->out);
}
