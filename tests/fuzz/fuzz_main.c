/* SPDX-License-Identifier: ISC */
/*
 * Runs a fuzz target without libFuzzer, with any compiler:
 *
 *     fuzz_NAME FILE...                 each file as one input
 *     fuzz_NAME [-runs=N] [-seed=S]     N inputs made from the target's seeds
 *
 * The same N and S make the same inputs. What fails is printed in hex.
 */
#include "fuzz.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#define FUZZ_RUNS 10000

/* Of the sanitizers, if this was built with them. */
void __sanitizer_set_death_callback(void (*callback)(void))
    __attribute__((weak));

/* libFuzzer has a main() of its own, which goes before a weak one. */
int main(int argc, char **argv) __attribute__((weak));

static uint8_t fuzz_input[FUZZ_INPUT_MAX];
static size_t fuzz_length;
static uint64_t fuzz_state;

/* Prints the input that killed us; called in a signal handler. */
static void
fuzz_print_input(void)
{
	static const char digits[] = "0123456789abcdef";
	static char line[2 * FUZZ_INPUT_MAX + 1];
	size_t n = 0;

	for (size_t i = 0; i < fuzz_length; i++) {
		line[n++] = digits[fuzz_input[i] >> 4];
		line[n++] = digits[fuzz_input[i] & 15];
	}
	line[n++] = '\n';
	if (write(STDERR_FILENO, "input: ", 7) < 0 ||
	    write(STDERR_FILENO, line, n) < 0)
		return;
}

static void
fuzz_died(int signal)
{
	fuzz_print_input();
	raise(signal); /* the handler is gone: SA_RESETHAND */
}

static void
fuzz_catch_death(void)
{
	static const int signals[] = { SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL,
		SIGALRM };
	struct sigaction action;

	memset(&action, 0, sizeof action);
	action.sa_handler = fuzz_died;
	action.sa_flags = (int)(SA_RESETHAND | SA_NODEFER);
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		/* A sanitizer that reports crashes does it better. */
		if (signals[i] == SIGABRT || signals[i] == SIGALRM ||
		    __sanitizer_set_death_callback == NULL)
			sigaction(signals[i], &action, NULL);
	if (__sanitizer_set_death_callback != NULL)
		__sanitizer_set_death_callback(fuzz_print_input);
}

/* splitmix64 */
static uint64_t
fuzz_random(uint64_t below)
{
	uint64_t z = fuzz_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (z ^ z >> 31) % below;
}

static uint8_t
fuzz_byte(void)
{
	static const uint8_t likely[] = { 0, 1, 2, 3, 4, 8, 0x7f, 0x80, 0xff,
		'0', '9', ':', '.', '/', '[', ']', '-', '%', ' ' };

	return fuzz_random(2) == 0 ? (uint8_t)fuzz_random(256) :
				     likely[fuzz_random(sizeof likely)];
}

static void
fuzz_insert(size_t at, const uint8_t *data, size_t len)
{
	if (len > sizeof fuzz_input - fuzz_length)
		return;
	memmove(fuzz_input + at + len, fuzz_input + at, fuzz_length - at);
	memcpy(fuzz_input + at, data, len);
	fuzz_length += len;
}

static void
fuzz_remove(size_t at, size_t len)
{
	memmove(fuzz_input + at, fuzz_input + at + len, fuzz_length - at - len);
	fuzz_length -= len;
}

static void
fuzz_mutate(void)
{
	uint8_t copy[64], byte = fuzz_byte();
	size_t at, from, len;

	if (fuzz_length == 0) {
		fuzz_insert(0, &byte, 1);
		return;
	}
	at = fuzz_random(fuzz_length);
	from = fuzz_random(fuzz_length);
	len = 1 + fuzz_random(8);
	if (fuzz_random(8) == 0)
		len = 1 + fuzz_random(sizeof copy);
	if (len > fuzz_length - from)
		len = fuzz_length - from;
	switch (fuzz_random(6)) {
	case 0:
		fuzz_input[at] = byte;
		break;
	case 1:
		fuzz_input[at] ^= (uint8_t)(1 << fuzz_random(8));
		break;
	case 2:
		fuzz_input[at] = (uint8_t)(fuzz_input[at] + fuzz_random(7) - 3);
		break;
	case 3:
		fuzz_insert(at, &byte, 1);
		break;
	case 4:
		memcpy(copy, fuzz_input + from, len);
		fuzz_insert(at, copy, len);
		break;
	default:
		fuzz_remove(from, len);
	}
}

/* A seed or two, or noise, with a few changes. */
static void
fuzz_make_input(unsigned n_seeds)
{
	uint8_t seed[FUZZ_INPUT_MAX];
	size_t len;

	fuzz_length = 0;
	for (uint64_t n = fuzz_random(3); n > 0 && n_seeds > 0; n--) {
		len = fuzz_seed((unsigned)fuzz_random(n_seeds), seed);
		fuzz_insert(fuzz_length, seed, len);
	}
	if (fuzz_length == 0)
		for (uint64_t n = fuzz_random(64); n > 0; n--)
			fuzz_input[fuzz_length++] = fuzz_byte();
	for (uint64_t n = fuzz_random(6); n > 0; n--)
		fuzz_mutate();
}

/* A copy that ends where it ends, so that a sanitizer sees more. */
static void
fuzz_run(void)
{
	uint8_t *copy = malloc(fuzz_length > 0 ? fuzz_length : 1);

	fuzz_assert(copy != NULL);
	memcpy(copy, fuzz_input, fuzz_length);
	alarm(10); /* one that hangs fails */
	LLVMFuzzerTestOneInput(copy, fuzz_length);
	free(copy);
}

static int
fuzz_run_file(const char *path)
{
	FILE *file = fopen(path, "rb");

	if (file == NULL) {
		perror(path);
		return -1;
	}
	fuzz_length = fread(fuzz_input, 1, sizeof fuzz_input, file);
	fclose(file);
	fuzz_run();
	return 0;
}

int
main(int argc, char **argv)
{
	unsigned long long runs = FUZZ_RUNS, seed = 1;
	unsigned n_seeds = 0;
	int files = 0, failed = 0;

	fuzz_catch_death();
	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "-runs=", 6) == 0) {
			runs = strtoull(argv[i] + 6, NULL, 10);
		} else if (strncmp(argv[i], "-seed=", 6) == 0) {
			seed = strtoull(argv[i] + 6, NULL, 10);
		} else if (argv[i][0] == '-') {
			fprintf(stderr,
			    "usage: %s [-runs=N] [-seed=S] "
			    "[FILE ...]\n",
			    argv[0]);
			return 2;
		} else {
			files++;
			failed |= fuzz_run_file(argv[i]) != 0;
		}
	}
	if (files > 0)
		return failed;
	while ((fuzz_length = fuzz_seed(n_seeds, fuzz_input)) > 0) {
		fuzz_run();
		n_seeds++;
	}
	for (unsigned long long run = 0; run < runs; run++) {
		/* Each input depends on the seed and its number alone. */
		fuzz_state = seed << 32 ^ run;
		fuzz_make_input(n_seeds);
		fuzz_run();
	}
	printf("%llu inputs, seed %llu: ok\n", runs, seed);
	return 0;
}
