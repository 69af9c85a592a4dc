/* SPDX-License-Identifier: ISC */
/*
 * options: the command line as a struct context: its options taken, its
 * words left. Says itself what is wrong with it, with the near option where
 * one is mistyped.
 */
#ifndef TUNNELCTL_OPTIONS_H
#define TUNNELCTL_OPTIONS_H

#include "commands.h"

/* Fills what options fill; args are all words, the command among them. 0 or
 * -1. argv is sorted. */
int options_parse(struct context *context, int argc, char **argv);

/* Does the command take all that was given? 0, or -1 and says so. */
int options_check(const struct context *context);

#endif
