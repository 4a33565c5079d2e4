/* families: one struct arch for each family, one file each. */
#ifndef SLUICE_ARCH_FAMILIES_H
#define SLUICE_ARCH_FAMILIES_H

#include "arch/arch.h"

extern const struct arch arch_llama, arch_olmoe, arch_qwen2, arch_qwen2moe, arch_qwen3, arch_qwen35,
    arch_qwen35moe, arch_qwen3moe, arch_qwen3next;

#endif
