/* SPDX-License-Identifier: ISC */
/*
 * descriptor: how many descriptors this process has open, and may have.
 * Floor 2.
 */
#ifndef TUNNELD_DESCRIPTOR_H
#define TUNNELD_DESCRIPTOR_H

#include <stddef.h>

/*
 * Quick enough to be asked once a second with 100,000 of them open: some
 * milliseconds where the kernel (before 6.2) does not simply say it. Those
 * above 1,048,576 are not counted there. A limit that is none is 0.
 */
size_t descriptor_count(void);
size_t descriptor_limit(void);

#endif
