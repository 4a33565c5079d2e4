/* pause: what a thread does while it spins: lets a sibling on the same core go first. */
#ifndef SLUICE_BASE_PAUSE_H
#define SLUICE_BASE_PAUSE_H

static inline void pause_spin(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
