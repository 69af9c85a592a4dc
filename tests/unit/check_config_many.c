/* SPDX-License-Identifier: ISC */
/* Files with many peers and tunnels: nothing takes the square of their number. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_config.h"
#include "config_diff.h"

#define MANY 10000
#define MANY_PEERS 1000

/* MANY tunnels of MANY_PEERS peers, from the last to the first if so asked;
 * every tenth tunnel with another hold. */
static char *
many_text(bool is_reversed, double hold)
{
	size_t size, n;
	char *text;
	FILE *file = open_memstream(&text, &size);

	fprintf(file, "peers = (\n");
	for (size_t i = 0; i < MANY_PEERS; i++)
		fprintf(file,
		    "%s{ name = \"p%zu\"; connect = \"h:1\";"
		    " secret_file = \"$D/secret\"; }\n",
		    i > 0 ? "," : "", is_reversed ? MANY_PEERS - 1 - i : i);
	fprintf(file, "); tunnels = (\n");
	for (size_t i = 0; i < MANY; i++) {
		n = is_reversed ? MANY - 1 - i : i;
		fprintf(file,
		    "%s{ name = \"t%zu\"; peer = \"p%zu\";"
		    " listen = \"127.0.0.1:%zu\"; hold = %g; }\n",
		    i > 0 ? "," : "", n, n % MANY_PEERS, n + 1,
		    n % 10 == 0 ? hold : 10.5);
	}
	fprintf(file, ");\n");
	ck_assert_int_eq(fclose(file), 0);
	return text;
}

START_TEST(many)
{
	char *texts[2] = { many_text(false, 1.5), many_text(true, 2.5) };
	struct config *before, *after;
	size_t shared = 0;
	json_t *diff;

	check_config_good(texts[0]);
	before = config_ref(check_config.config);
	check_config_good(texts[1]);
	after = config_ref(check_config.config);
	diff = config_diff(before, after);
	ck_assert_uint_eq(json_array_size(diff), MANY / 10);
	json_decref(diff);
	config_share(after, before);
	for (size_t i = 0; i < MANY; i++)
		shared += after->tunnels[i] == before->tunnels[MANY - 1 - i];
	ck_assert_uint_eq(shared, MANY - MANY / 10);
	for (size_t i = 0; i < MANY_PEERS; i++)
		ck_assert_ptr_eq(after->peers[i],
		    before->peers[MANY_PEERS - 1 - i]);
	config_unref(before);
	config_unref(after);
	free(texts[0]);
	free(texts[1]);
}
END_TEST

/* As many errors, and each of them told in the order of the file. */
START_TEST(many_errors)
{
	const struct config_errors *errors = &check_config.errors;
	size_t size;
	char *text;
	FILE *file = open_memstream(&text, &size);

	fprintf(file, "tunnels = (\n");
	for (size_t i = 0; i < MANY; i++)
		fprintf(file,
		    "%s{ name = \"t\"; peer = \"no\";"
		    " listen = \":5\"; hold = -1; }\n",
		    i > 0 ? "," : "");
	fprintf(file, ");\n");
	ck_assert_int_eq(fclose(file), 0);
	check_config_put("conf", text, 0644);
	free(text);
	check_config_load();
	ck_assert_ptr_null(check_config.config);
	/* The first has its name and its address to itself. */
	ck_assert_uint_eq(errors->n, 4 * MANY - 2);
	for (size_t i = 1; i < errors->n; i++)
		ck_assert_int_le(errors->list[i - 1].line,
		    errors->list[i].line);
	ck_assert_ptr_nonnull(strstr(errors->list[errors->n - 1].message,
	    ":5 is taken by tunnel no/t on line 2"));
}
END_TEST

TCase *
check_config_many(void)
{
	TCase *tc = tcase_create("many");

	tcase_add_checked_fixture(tc, check_config_setup,
	    check_config_teardown);
	/* A second at most, but for a slow machine under valgrind. */
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, many);
	tcase_add_test(tc, many_errors);
	return tc;
}
