/* chat_template: messages to the text a chat model was trained on.
 *
 * GGUF files carry a Jinja program (tokenizer.chat_template).  It is not run: the form that it
 * writes is recognised by what it contains, and written by hand.  What a form leaves out (tools,
 * dates, reasoning of earlier turns) is left out.  Stateless. */
#ifndef SLUICE_TEXT_CHAT_TEMPLATE_H
#define SLUICE_TEXT_CHAT_TEMPLATE_H

#include <sluice.h>

#include "text/tokenizer.h"

/* The name of the form of a template, or NULL if it is not known. */
const char *chat_template_name(const char *tmpl, size_t n_bytes);
/* Names of all known forms, "a, b, c". */
const char *chat_template_names(void);

/* Renders msgs and the beginning of the assistant's answer into *out, malloc'ed and
 * NUL-terminated.  The text is to be tokenized with SLUICE_TOKENIZE_BOS and _SPECIAL: it begins with
 * the BOS token's text only where the template asks for one that the tokenizer does not add.
 * SLUICE_EUNSUPPORTED for an unknown template, SLUICE_EINVAL for an unknown role. */
int chat_template_apply(const char *tmpl, size_t n_bytes, const struct tokenizer *t,
                        const struct sluice_message *msgs, size_t n_msgs, char **out,
                        struct sluice_error *err) SLUICE_MUST_CHECK;

#endif
