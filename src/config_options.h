/* SPDX-License-Identifier: ISC */
/*
 * config_options: the one table of options. What is read, its default, its
 * range, what `tunneld --options` prints and what the manual must say all
 * come from it. Knows no file and no libconfig; the module config alone
 * includes it.  Floor 1.
 */
#ifndef TUNNELD_CONFIG_OPTIONS_H
#define TUNNELD_CONFIG_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

/* A kind of group in the file. TOP is the file itself. */
enum config_section {
	CONFIG_SECTION_TOP,
	CONFIG_SECTION_DAEMON,
	CONFIG_SECTION_GATEWAY,
	CONFIG_SECTION_METRICS,
	CONFIG_SECTION_PEER,
	CONFIG_SECTION_HEARTBEAT,
	CONFIG_SECTION_RECONNECT,
	CONFIG_SECTION_TUNNEL,
	CONFIG_SECTION_COUNT
};

struct config_section_info {
	const char *name;	    /* "peer.heartbeat" */
	const char *key;	    /* "heartbeat", as it stands in parent */
	enum config_section parent; /* TOP's is TOP */
	bool is_list;		    /* a list of groups, not one group */
};

extern const struct config_section_info config_sections[CONFIG_SECTION_COUNT];

/* What an option is in the file, and the member that holds it. */
enum config_kind {
	CONFIG_KIND_NAME,      /* string: name_is_valid; char * */
	CONFIG_KIND_PATH,      /* string: absolute, at most max; char * */
	CONFIG_KIND_USER,      /* string: getpwnam knows it; char * */
	CONFIG_KIND_GROUP,     /* string: getgrnam knows it; char * */
	CONFIG_KIND_WORD,      /* string: one of words; an enum, in order */
	CONFIG_KIND_INT,       /* whole number in min..max; int */
	CONFIG_KIND_INT64,     /* the same; int64_t */
	CONFIG_KIND_SECONDS,   /* number in min..max; double */
	CONFIG_KIND_BOOL,      /* true or false; bool */
	CONFIG_KIND_LISTEN,    /* string: a literal address; struct addr */
	CONFIG_KIND_CONNECT,   /* string: host and port; struct addr */
	CONFIG_KIND_LISTENS,   /* min..max of them; struct addr *, companion */
	CONFIG_KIND_NETWORKS,  /* the same; struct addr_cidr *, companion */
	CONFIG_KIND_ON_CHANGE, /* string: one of words, of which the last ends
				  in a number in min..max; enum, companion */
	CONFIG_KIND_COUNT
};

struct config_option {
	enum config_section section;
	const char *key;
	enum config_kind kind;
	size_t offset;	  /* in the struct of the section, or of its parent for
			  heartbeat and reconnect */
	size_t companion; /* LISTEN, CONNECT: offset of the bool "it is
			     there"; lists: offset of the size_t count;
			     ON_CHANGE: offset of the double */
	const char *fallback; /* as written in the file; in parentheses where
				 it is worked out later; NULL: none */
	double min;	      /* numbers and lists */
	double max;	      /* numbers, lists, length of a path */
	const char *words; /* WORD, ON_CHANGE: in the enum's order, by spaces */
	const char *later; /* WORD: known, but not supported yet */
	bool required;
	bool restart; /* a change of it is refused by a reload */
	const char *help;
};

extern const struct config_option config_options[];
extern const size_t config_options_count;

/* NULL, or COUNT for a section, if section has no such key. */
const struct config_option *config_option_find(enum config_section section,
    const char *key);
enum config_section config_section_find(enum config_section parent,
    const char *key);

/* The key that was probably meant, or NULL. */
const char *config_option_suggest(enum config_section section, const char *key);

/* Whether key is one that a later version will know. */
bool config_option_is_later(enum config_section section, const char *key);

/* The place of word in a list such as "stderr syslog"; -1 if not there. */
int config_word_find(const char *words, const char *word);

/* What a value must be: "a whole number". */
const char *config_kind_name(enum config_kind kind);

/*
 * Put a value into the struct at base, whatever it held. The kinds must fit;
 * nothing is checked. -1 only if memory runs out.
 */
int config_option_set_text(const struct config_option *option, void *base,
    const char *text);
void config_option_set_number(const struct config_option *option, void *base,
    double value);
void config_option_set_word(const struct config_option *option, void *base,
    int place);

/*
 * Every default of the section, and of the sections within it, into zeroed
 * memory; and the release of all that they own. -1 if memory runs out.
 */
int config_section_set_defaults(enum config_section section, void *base);
void config_section_clear(enum config_section section, void *base);

#endif
