/* chat_template: see chat_template.h.
 *
 * A form is what stands around each message.  In its strings \1 is the BOS token's text and \2
 * the EOS token's.  Sources: the templates that the models' makers publish. */
#include "text/chat_template.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

enum system_place {
    SYSTEM_OWN,        /* a message of its own */
    SYSTEM_FIRST_USER, /* in front of the first user message */
    SYSTEM_LAST_USER,  /* in front of the last one */
};

struct form {
    const char *name;
    const char *begin;
    const char *system, *system_end;
    const char *user, *user_end;
    const char *assistant, *assistant_end;
    const char *prompt; /* where the answer begins */
    enum system_place place;
    bool trim;          /* messages lose white space at both ends */
};

enum {
    FORM_CHATML, FORM_CHATML_TIGHT, FORM_LLAMA3, FORM_LLAMA2, FORM_MISTRAL, FORM_MISTRAL_V3,
    FORM_MISTRAL_TEKKEN, FORM_MISTRAL_V7, FORM_MISTRAL_V7_SPACED, FORM_GEMMA, FORM_DEEPSEEK3,
    FORM_DEEPSEEK2, FORM_GLM4, FORM_PHI3, FORM_ZEPHYR, FORM_OLMO,
};

static const struct form forms[] = {
    [FORM_CHATML] = {
        .name = "chatml", .begin = "", .system = "<|im_start|>system\n", .system_end = "<|im_end|>\n",
        .user = "<|im_start|>user\n", .user_end = "<|im_end|>\n", .assistant = "<|im_start|>assistant\n",
        .assistant_end = "<|im_end|>\n", .prompt = "<|im_start|>assistant\n",
    },
    /* where the template strips the line breaks around its control blocks */
    [FORM_CHATML_TIGHT] = {
        .name = "chatml-tight", .begin = "", .system = "<|im_start|>system\n", .system_end = "<|im_end|>",
        .user = "<|im_start|>user\n", .user_end = "<|im_end|>", .assistant = "<|im_start|>assistant\n",
        .assistant_end = "<|im_end|>", .prompt = "<|im_start|>assistant",
    },
    [FORM_LLAMA3] = {
        .name = "llama3", .begin = "", .system = "<|start_header_id|>system<|end_header_id|>\n\n",
        .system_end = "<|eot_id|>", .user = "<|start_header_id|>user<|end_header_id|>\n\n",
        .user_end = "<|eot_id|>", .assistant = "<|start_header_id|>assistant<|end_header_id|>\n\n",
        .assistant_end = "<|eot_id|>", .prompt = "<|start_header_id|>assistant<|end_header_id|>\n\n",
        .trim = true,
    },
    [FORM_LLAMA2] = {
        .name = "llama2", .begin = "", .system = "<<SYS>>\n", .system_end = "\n<</SYS>>\n\n",
        .user = "[INST] ", .user_end = " [/INST]", .assistant = " ", .assistant_end = " \2\1",
        .prompt = "", .place = SYSTEM_FIRST_USER, .trim = true,
    },
    [FORM_MISTRAL] = {
        .name = "mistral", .begin = "", .system = "", .system_end = "\n\n", .user = "[INST] ",
        .user_end = " [/INST]", .assistant = "", .assistant_end = "\2", .prompt = "",
        .place = SYSTEM_FIRST_USER,
    },
    [FORM_MISTRAL_V3] = {
        .name = "mistral-v3", .begin = "", .system = "", .system_end = "\n\n", .user = "[INST] ",
        .user_end = "[/INST]", .assistant = " ", .assistant_end = "\2", .prompt = "",
        .place = SYSTEM_LAST_USER,
    },
    [FORM_MISTRAL_TEKKEN] = {
        .name = "mistral-tekken", .begin = "", .system = "", .system_end = "\n\n", .user = "[INST]",
        .user_end = "[/INST]", .assistant = "", .assistant_end = "\2", .prompt = "",
        .place = SYSTEM_LAST_USER,
    },
    [FORM_MISTRAL_V7] = {
        .name = "mistral-v7", .begin = "", .system = "[SYSTEM_PROMPT]", .system_end = "[/SYSTEM_PROMPT]",
        .user = "[INST]", .user_end = "[/INST]", .assistant = "", .assistant_end = "\2", .prompt = "",
    },
    [FORM_MISTRAL_V7_SPACED] = {
        .name = "mistral-v7-spaced", .begin = "", .system = "[SYSTEM_PROMPT] ",
        .system_end = "[/SYSTEM_PROMPT]", .user = "[INST] ", .user_end = "[/INST]", .assistant = " ",
        .assistant_end = "\2", .prompt = "",
    },
    [FORM_GEMMA] = {
        .name = "gemma", .begin = "", .system = "", .system_end = "\n\n", .user = "<start_of_turn>user\n",
        .user_end = "<end_of_turn>\n", .assistant = "<start_of_turn>model\n",
        .assistant_end = "<end_of_turn>\n", .prompt = "<start_of_turn>model\n", .place = SYSTEM_FIRST_USER,
        .trim = true,
    },
    [FORM_DEEPSEEK3] = {
        .name = "deepseek3", .begin = "", .system = "", .system_end = "", .user = "<｜User｜>",
        .user_end = "", .assistant = "<｜Assistant｜>", .assistant_end = "<｜end▁of▁sentence｜>",
        .prompt = "<｜Assistant｜>",
    },
    [FORM_DEEPSEEK2] = {
        .name = "deepseek2", .begin = "", .system = "", .system_end = "\n\n", .user = "User: ",
        .user_end = "\n\n", .assistant = "Assistant: ", .assistant_end = "\2", .prompt = "Assistant:",
    },
    [FORM_GLM4] = {
        .name = "glm4", .begin = "[gMASK]<sop>", .system = "<|system|>\n", .system_end = "",
        .user = "<|user|>\n", .user_end = "", .assistant = "<|assistant|>\n", .assistant_end = "",
        .prompt = "<|assistant|>",
    },
    [FORM_PHI3] = {
        .name = "phi3", .begin = "", .system = "<|system|>\n", .system_end = "<|end|>\n",
        .user = "<|user|>\n", .user_end = "<|end|>\n", .assistant = "<|assistant|>\n",
        .assistant_end = "<|end|>\n", .prompt = "<|assistant|>\n",
    },
    [FORM_ZEPHYR] = {
        .name = "zephyr", .begin = "", .system = "<|system|>\n", .system_end = "\2\n",
        .user = "<|user|>\n", .user_end = "\2\n", .assistant = "<|assistant|>\n", .assistant_end = "\2\n",
        .prompt = "<|assistant|>\n",
    },
    [FORM_OLMO] = {
        .name = "olmo", .begin = "", .system = "<|system|>\n", .system_end = "\n", .user = "<|user|>\n",
        .user_end = "\n", .assistant = "<|assistant|>\n", .assistant_end = "\2\n",
        .prompt = "<|assistant|>\n",
    },
};

/* A copy of the template, NUL-terminated, with the \n inside its string literals as line breaks. */
static char *readable(const char *tmpl, size_t n)
{
    char *s = malloc(n + 1);
    size_t k = 0;
    if (!s)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        if (tmpl[i] == '\\' && i + 1 < n && tmpl[i + 1] == 'n') {
            s[k++] = '\n';
            i++;
        } else if (tmpl[i]) {
            s[k++] = tmpl[i];
        }
    }
    s[k] = 0;
    return s;
}

static bool has(const char *s, const char *part) { return strstr(s, part) != NULL; }

static const struct form *recognise(const char *s)
{
    if (has(s, "<|im_start|>"))
        return has(s, "<|im_sep|>") || has(s, "<end_of_utterance>") || has(s, "## Metadata") ? NULL
               : &forms[has(s, "<|im_end|>\n{%- endfor -%}") ? FORM_CHATML_TIGHT : FORM_CHATML];
    if (has(s, "[INST]")) {
        if (has(s, "<<SYS>>"))
            return &forms[FORM_LLAMA2];
        if (has(s, "[SYSTEM_PROMPT]"))
            return &forms[has(s, "[SYSTEM_PROMPT] ") ? FORM_MISTRAL_V7_SPACED : FORM_MISTRAL_V7];
        if (has(s, "[AVAILABLE_TOOLS]"))
            return &forms[has(s, "[INST] ") ? FORM_MISTRAL_V3 : FORM_MISTRAL_TEKKEN];
        return &forms[FORM_MISTRAL];
    }
    if (has(s, "<|start_header_id|>") && has(s, "<|eot_id|>"))
        return has(s, "functions") && !has(s, "Today Date") ? NULL : &forms[FORM_LLAMA3];
    if (has(s, "<start_of_turn>"))
        return &forms[FORM_GEMMA];
    if (has(s, "[gMASK]<sop>"))
        return has(s, "<|user|>\n") ? &forms[FORM_GLM4] : NULL;
    /* Later ones (V3.1 on) choose a mode of thinking by a variable. */
    if (has(s, "<｜User｜>") && has(s, "<｜Assistant｜>") && has(s, "<｜end▁of▁sentence｜>"))
        return has(s, "set thinking") || has(s, "thinking_mode") ? NULL : &forms[FORM_DEEPSEEK3];
    if (has(s, "'Assistant: ' + message['content'] + eos_token"))
        return &forms[FORM_DEEPSEEK2];
    if (has(s, "<|user|>") && has(s, "<|assistant|>")) {
        if (has(s, "<|end|>"))
            return has(s, "<|begin") || has(s, "reasoning") ? NULL : &forms[FORM_PHI3];
        if (has(s, "'<|user|>\n' + message['content'] + eos_token"))
            return &forms[FORM_ZEPHYR];
        if (has(s, "'<|user|>\n' + message['content'] + '\n'"))
            return &forms[FORM_OLMO];
    }
    return NULL;
}

const char *chat_template_name(const char *tmpl, size_t n_bytes)
{
    char *s = readable(tmpl, n_bytes);
    const struct form *f = s ? recognise(s) : NULL;
    free(s);
    return f ? f->name : NULL;
}

const char *chat_template_names(void)
{
    return "chatml, llama2, llama3, mistral (v1, v3, tekken, v7), gemma, deepseek2, deepseek3, glm4, phi3, "
           "zephyr, olmo";
}

/* ---- rendering ---------------------------------------------------------------- */

struct text {
    char *p;
    size_t n, cap;
    bool failed;
    const struct tokenizer *t;
};

static void put(struct text *x, const char *s, size_t n)
{
    if (x->failed)
        return;
    if (x->cap - x->n <= n) {
        size_t cap = x->cap + x->cap / 2 + n + 256;
        char *p = realloc(x->p, cap);
        if (!p) {
            x->failed = true;
            return;
        }
        x->p = p;
        x->cap = cap;
    }
    memcpy(x->p + x->n, s, n);
    x->n += n;
    x->p[x->n] = 0;
}

static void put_token(struct text *x, int32_t id)
{
    size_t n;
    const char *p = tokenizer_token_bytes(x->t, id, true, &n);
    if (p)
        put(x, p, n);
}

/* A string of a form. */
static void put_form(struct text *x, const char *s)
{
    for (size_t k; *s; s += k) {
        k = strcspn(s, "\1\2");
        put(x, s, k);
        if (s[k]) {
            put_token(x, s[k] == 1 ? tokenizer_bos(x->t) : tokenizer_eos(x->t));
            k++;
        }
    }
}

static void put_content(struct text *x, const char *s, bool trim)
{
    size_t b = 0, e = strlen(s);
    if (trim) {
        b = strspn(s, " \t\n\v\f\r");
        while (e > b && strchr(" \t\n\v\f\r", s[e - 1]))
            e--;
    }
    put(x, s + b, e - b);
}

/* The system message that a ChatML template writes where none is given: literal text between
 * "<|im_start|>system\n" and "<|im_end|>".  NULL if there is none. */
static const char *default_system(const char *s, size_t *n)
{
    static const char open[] = "<|im_start|>system\n";
    for (const char *p = s; (p = strstr(p, open)); ) {
        p += strlen(open);
        *n = strcspn(p, "'\"{}<");
        if (*n && !strncmp(p + *n, "<|im_end|>", 10))
            return p;
    }
    return NULL;
}

/* What the variants of a form differ in. */
struct variant {
    const struct form *f;
    const char *fallback; /* system message where none is given */
    size_t n_fallback;
    const char *system_prefix; /* in front of any system message */
    const char *user_lead, *assistant_lead; /* in front of the form's own */
    const char *prompt_tail;
    bool trim, bos;
};

static struct variant vary(const struct form *f, const char *s)
{
    struct variant v = {.f = f, .trim = f->trim, .user_lead = "", .assistant_lead = "", .prompt_tail = ""};
    v.bos = has(s, "bos_token");
    if (f == &forms[FORM_CHATML]) {
        v.fallback = default_system(s, &v.n_fallback);
        v.trim = has(s, "render_content(message.content, true)|trim"); /* Qwen3.5 */
    }
    if (f == &forms[FORM_LLAMA3] && has(s, "Cutting Knowledge Date: December 2023")) {
        /* 3.2 puts today's date where it can; without one it falls back to this. */
        v.system_prefix = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";
        v.fallback = "";
    }
    if (f == &forms[FORM_MISTRAL]) {
        if (has(s, "' [INST] '") || has(s, "\" [INST] \""))
            v.user_lead = " ";
        if (has(s, "' ' + message['content']") || has(s, "\" \" + message[\"content\"]"))
            v.assistant_lead = " ";
    }
    if (f == &forms[FORM_GLM4] && has(s, "<think></think>"))
        v.assistant_lead = "<think></think>\n";
    /* Models that always think begin their answer so. */
    const char *gen = s, *last = NULL;
    while ((gen = strstr(gen, "add_generation_prompt")))
        last = gen++;
    if (last && (has(last, "assistant\n<think>\n'") || has(last, "<｜Assistant｜><think>\n'") ||
                 (has(last, "enable_thinking is false") && !has(last, "enable_thinking is true") &&
                  has(last, "<think>\n'"))))
        v.prompt_tail = has(last, "if not enable_thinking") ? "<think>\n</think>" : "<think>\n";
    return v;
}

static void put_system(struct text *x, const struct variant *v, const char *content, size_t n, bool given)
{
    put_form(x, v->f->system);
    if (v->system_prefix)
        put(x, v->system_prefix, strlen(v->system_prefix));
    if (given)
        put_content(x, content, v->trim);
    else
        put(x, content, n);
    put_form(x, v->f->system_end);
}

static void render(struct text *x, const struct variant *v, const struct sluice_message *msgs, size_t n_msgs)
{
    const struct form *f = v->f;
    const char *system = NULL;
    size_t target = SIZE_MAX; /* the user message that takes the system message */
    bool own = f->place == SYSTEM_OWN;
    if (v->bos && !tokenizer_add_bos(x->t))
        put_form(x, "\1");
    put_form(x, f->begin);
    if (!own) {
        for (size_t i = 0; i < n_msgs; i++) {
            if (!strcmp(msgs[i].role, "system"))
                system = msgs[i].content;
            else if (!strcmp(msgs[i].role, "user") && (target == SIZE_MAX || f->place == SYSTEM_LAST_USER))
                target = i;
        }
    } else if (v->fallback && (!n_msgs || strcmp(msgs[0].role, "system"))) {
        put_system(x, v, v->fallback, v->n_fallback, false);
    }
    for (size_t i = 0; i < n_msgs; i++) {
        const struct sluice_message *m = &msgs[i];
        if (!strcmp(m->role, "system")) {
            if (own)
                put_system(x, v, m->content, 0, true);
        } else if (!strcmp(m->role, "user")) {
            put_form(x, v->user_lead);
            put_form(x, f->user);
            if (i == target && system)
                put_system(x, v, system, 0, true);
            put_content(x, m->content, v->trim);
            put_form(x, f->user_end);
        } else {
            /* glm4 puts it behind its own opening, mistral has no opening */
            put_form(x, f->assistant);
            put_form(x, v->assistant_lead);
            put_content(x, m->content, v->trim);
            put_form(x, f->assistant_end);
        }
    }
    put_form(x, f->prompt);
    put_form(x, v->prompt_tail);
}

int chat_template_apply(const char *tmpl, size_t n_bytes, const struct tokenizer *t,
                        const struct sluice_message *msgs, size_t n_msgs, char **out,
                        struct sluice_error *err)
{
    *out = NULL;
    for (size_t i = 0; i < n_msgs; i++) {
        const char *r = msgs[i].role;
        if (!r || !msgs[i].content || (strcmp(r, "system") && strcmp(r, "user") && strcmp(r, "assistant")))
            return err_set(err, SLUICE_EINVAL,
                           "message %zu has the role \"%.40s\"; known: system, user, assistant", i + 1,
                           r ? r : "");
    }
    char *s = readable(tmpl, n_bytes);
    if (!s)
        return err_set(err, SLUICE_ENOMEM, "no memory for a chat template of %zu bytes", n_bytes);
    const struct form *f = recognise(s);
    if (!f) {
        free(s);
        return err_set(
            err, SLUICE_EUNSUPPORTED,
            "the model's chat template is of a form that is not known; use --raw and write the prompt as "
            "the model expects it (known: %s)",
            chat_template_names());
    }
    struct variant v = vary(f, s);
    struct text x = {.t = t};
    put(&x, "", 0);
    render(&x, &v, msgs, n_msgs);
    free(s);
    if (x.failed) {
        free(x.p);
        return err_set(err, SLUICE_ENOMEM, "no memory for the prompt");
    }
    *out = x.p;
    return 0;
}
