/* test_chat_template: the text of known forms; BOS where the tokenizer does not add it; unknown templates. */
#include "text/chat_template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct sluice_error err;
static struct gguf *g_spm, *g_bpe;
static struct tokenizer *spm, *bpe; /* adds BOS <s>; has none */

static int setup(void **state)
{
    (void)state;
    return gguf_open("tests/unit/data/spm.gguf", &g_spm, &err) || tokenizer_create(g_spm, &spm, &err) ||
           gguf_open("tests/unit/data/bpe.gguf", &g_bpe, &err) || tokenizer_create(g_bpe, &bpe, &err);
}

static int teardown(void **state)
{
    (void)state;
    tokenizer_free(spm);
    tokenizer_free(bpe);
    gguf_close(g_spm);
    gguf_close(g_bpe);
    return 0;
}

static const struct sluice_message talk[] = {
    {"system", "S"}, {"user", " U "}, {"assistant", "A"}, {"user", "V"},
};

static void check(const struct tokenizer *t, const char *tmpl, const char *all, const char *one)
{
    char *out;
    if (chat_template_apply(tmpl, strlen(tmpl), t, talk, 4, &out, &err))
        fail_msg("%s", err.msg);
    assert_string_equal(out, all);
    free(out);
    assert_int_equal(chat_template_apply(tmpl, strlen(tmpl), t, talk + 3, 1, &out, &err), 0);
    assert_string_equal(out, one);
    free(out);
}

static void known_forms(void **state)
{
    (void)state;
    check(spm, "{{'<|im_start|>' + role + '\\n' + content + '<|im_end|>\\n'}}",
          "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n U "
          "<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
          "<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n",
          "<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n");
    check(spm, "{{ '<|im_start|>system\nYou are kind.<|im_end|>\n' }}",
          "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n U "
          "<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
          "<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n",
          "<|im_start|>system\nYou are "
          "kind.<|im_end|>\n<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n");
    check(spm, "<|im_start|> {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}",
          "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n U "
          "<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
          "<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n<think>\n",
          "<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n<think>\n");
    check(spm, "{{ '<|start_header_id|>' + role + '<|end_header_id|>\n\n'+ content | trim + '<|eot_id|>' }}",
          "<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>"
          "\n\n"
          "U<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nA<|eot_id|><|start_header_id|>user<|"
          "end_header_id|>\n\nV"
          "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
          "<|start_header_id|>user<|end_header_id|>\n\nV<|eot_id|><|start_header_id|>assistant<|end_header_"
          "id|>\n\n");
    check(spm, "{{ bos_token + '[INST] ' + '<<SYS>>\\n' + content.strip() + ' [/INST]' }}",
          "[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST] A </s><s>[INST] V [/INST]", "[INST] V [/INST]");
    check(spm, "{{ bos_token }}{{ '[INST] ' + message['content'] + ' [/INST]' }}",
          "[INST] S\n\n U  [/INST]A</s>[INST] V [/INST]",
          "[INST] V [/INST]");
    check(spm, "<start_of_turn>",
          "<start_of_turn>user\nS\n\nU<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n"
          "<start_of_turn>user\nV<end_of_turn>\n<start_of_turn>model\n",
              "<start_of_turn>user\nV<end_of_turn>\n<start_of_turn>model\n");
    check(spm, "<｜User｜><｜Assistant｜><｜end▁of▁sentence｜>",
          "S<｜User｜> U <｜Assistant｜>A<｜end▁of▁sentence｜><｜User｜>V<｜Assistant｜>",
          "<｜User｜>V<｜Assistant｜>");
    check(spm, "[gMASK]<sop><|user|>\n",
          "[gMASK]<sop><|system|>\nS<|user|>\n U <|assistant|>\nA<|user|>\nV<|assistant|>",
          "[gMASK]<sop><|user|>\nV<|assistant|>");
}

static void bos_text(void **state)
{
    (void)state;
    char *out;
    const char *tmpl = "{{ bos_token }}{{ '<|user|>\n' + message['content'] + '\n' }}{{ '<|assistant|>\n' }}";
    assert_string_equal(chat_template_name(tmpl, strlen(tmpl)), "olmo");
    assert_int_equal(chat_template_apply(tmpl, strlen(tmpl), spm, talk + 3, 1, &out, &err), 0);
    assert_string_equal(out, "<|user|>\nV\n<|assistant|>\n"); /* the tokenizer adds it */
    free(out);
    assert_int_equal(chat_template_apply(tmpl, strlen(tmpl), bpe, talk + 3, 1, &out, &err), 0);
    assert_string_equal(out, "<|user|>\nV\n<|assistant|>\n"); /* there is none */
    free(out);
}

static void not_known(void **state)
{
    (void)state;
    char *out;
    assert_int_equal(chat_template_apply("{{ messages }}", 14, spm, talk, 4, &out, &err),
                     SLUICE_EUNSUPPORTED);
    assert_non_null(strstr(err.msg, "--raw"));
    assert_null(out);
    assert_null(chat_template_name("", 0));
    struct sluice_message odd = {"tool", "x"};
    assert_int_equal(chat_template_apply("<|im_start|>", 12, spm, &odd, 1, &out, &err), SLUICE_EINVAL);
    assert_non_null(strstr(err.msg, "\"tool\""));
    assert_int_equal(chat_template_apply("<|im_start|>", 12, spm, NULL, 0, &out, &err), 0);
    assert_string_equal(out, "<|im_start|>assistant\n");
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_forms), cmocka_unit_test(bos_text), cmocka_unit_test(not_known),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
