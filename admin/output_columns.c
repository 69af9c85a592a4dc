/* SPDX-License-Identifier: ISC */
#include "output_writer.h"

#include <ctype.h>
#include <string.h>

#include "format.h"

/* --- Choice ------------------------------------------------------------- */

static const struct output_column *
find_column(const struct output_view *view, const char *name, size_t len)
{
	for (const struct output_column *c = view->columns; c->head != NULL;
	     c++)
		if (strlen(c->key) == len && memcmp(c->key, name, len) == 0)
			return c;
	return NULL;
}

static void
choose_all(struct output_choice *choice, const struct output_view *view,
    bool extra)
{
	size_t n = 0;

	for (const struct output_column *c = view->columns;
	     c->head != NULL && n < OUTPUT_COLUMNS_MAX; c++)
		if (extra || (c->flags & OUTPUT_EXTRA) == 0)
			choice->columns[n++] = c;
	choice->columns[n] = NULL;
}

/* What was asked for, and what there is. */
static void
say_unknown(const struct output_view *view, const char *name, size_t len,
    char *error, size_t error_size)
{
	size_t at = (size_t)snprintf(error, error_size,
	    "there is no column '%.*s'; there are:", (int)(len < 64 ? len : 64),
	    name);

	for (const struct output_column *c = view->columns;
	     c->head != NULL && at < error_size; c++)
		at += (size_t)snprintf(error + at, error_size - at, "%s%s",
		    c == view->columns ? " " : ",", c->key);
}

int
output_columns_choose(struct output_choice *choice,
    const struct output_settings *settings, const struct output_view *view,
    char *error, size_t error_size)
{
	const char *name = settings->columns;
	const struct output_column *column;
	size_t n = 0, len;

	choose_all(choice, view, settings->format == OUTPUT_CSV);
	for (; name != NULL; name = name[len] == ',' ? name + len + 1 : NULL) {
		len = strcspn(name, ",");
		column = find_column(view, name, len);
		if (column == NULL) {
			say_unknown(view, name, len, error, error_size);
			goto fail;
		}
		if (n == OUTPUT_COLUMNS_MAX) {
			snprintf(error, error_size,
			    "more than %d columns are named",
			    OUTPUT_COLUMNS_MAX);
			goto fail;
		}
		choice->columns[n++] = column;
		choice->columns[n] = NULL;
	}
	return 0;
fail:
	choose_all(choice, view, settings->format == OUTPUT_CSV);
	return -1;
}

/* --- What they say ------------------------------------------------------ */

json_t *
output_columns_value(const struct output_column *column, const json_t *row)
{
	json_t *value;

	if (column->value != NULL)
		value = column->value(row);
	else
		value = json_incref(json_object_get(row, column->key));
	return value != NULL ? value : json_null();
}

static void
value_text(int kind, const struct output_settings *settings,
    const json_t *value, char *buf)
{
	size_t size = OUTPUT_CELL_SIZE;

	switch (kind) {
	case OUTPUT_BYTES &OUTPUT_KIND_MASK:
		if (settings->bytes)
			format_value(value, buf, size);
		else
			format_bytes(value, buf, size);
		break;
	case OUTPUT_RATE &OUTPUT_KIND_MASK:
		if (settings->bytes)
			format_whole(value, buf, size);
		else
			format_rate(value, buf, size);
		break;
	case OUTPUT_AGE &OUTPUT_KIND_MASK:
		if (settings->utc)
			format_value(value, buf, size);
		else
			format_age(value, buf, size);
		break;
	case OUTPUT_TIME &OUTPUT_KIND_MASK:
		if (settings->utc)
			format_value(value, buf, size);
		else
			format_time(value, buf, size);
		break;
	case OUTPUT_DURATION &OUTPUT_KIND_MASK:
		format_duration(value, buf, size);
		break;
	case OUTPUT_MS &OUTPUT_KIND_MASK:
		format_rtt(value, buf, size);
		break;
	case OUTPUT_PERCENT &OUTPUT_KIND_MASK:
		format_percent(value, buf, size);
		break;
	default:
		format_value(value, buf, size);
	}
}

void
output_columns_text(const struct output_column *column,
    const struct output_settings *settings, const json_t *row, char *buf)
{
	json_t *value;

	if (column->text != NULL) {
		column->text(settings, row, buf, OUTPUT_CELL_SIZE);
		return;
	}
	value = output_columns_value(column, row);
	value_text(column->flags & OUTPUT_KIND_MASK, settings, value, buf);
	json_decref(value);
}

/* An age becomes a time: AGE is "OPENED AT" then, of opened_at. */
void
output_columns_head(const struct output_column *column,
    const struct output_settings *settings, char *buf, size_t size)
{
	if ((column->flags & OUTPUT_KIND_MASK) !=
		(OUTPUT_AGE & OUTPUT_KIND_MASK) ||
	    !settings->utc) {
		snprintf(buf, size, "%s", column->head);
		return;
	}
	snprintf(buf, size, "%s", column->key);
	for (char *c = buf; *c != '\0'; c++)
		*c = (char)(*c == '_' ? ' ' : toupper((unsigned char)*c));
}

/* --- Colour ------------------------------------------------------------- */

const char *
output_columns_colour(const char *state)
{
	static const struct {
		const char *state, *colour;
	} colours[] = {
		{ "up", "\033[32m" },
		{ "open", "\033[32m" },
		{ "ok", "\033[32m" },
		{ "down", "\033[31m" },
		{ "disabled", "\033[31m" },
		{ "FAILED", "\033[31m" },
		{ "held", "\033[33m" },
		{ "opening", "\033[33m" },
		{ "closing", "\033[33m" },
		{ "waiting", "\033[33m" },
		{ "dialling", "\033[33m" },
		{ "authenticating", "\033[33m" },
	};

	for (size_t i = 0; i < sizeof colours / sizeof *colours; i++)
		if (strcmp(state, colours[i].state) == 0)
			return colours[i].colour;
	return "";
}
