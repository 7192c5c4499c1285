/* A cfg's text as far as it means something, and where two of them differ. */
#ifndef KD_CFG_TEXT_H
#define KD_CFG_TEXT_H

#include <stddef.h>

/* A cfg's lines without comments and blanks; free. Exits when it can't be read. */
char *read_cfg_text(char *file);

/*
 * Where two such texts part: writes what stands there, "[net] batch=4", into `one` and `other`,
 * `size` bytes each. The texts differ.
 */
void find_difference(const char *text, const char *other_text, char *one, char *other,
                     size_t size);

#endif
