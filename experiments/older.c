/* Let programs believe in an older processor. On Linux the instruction `cpuid` can be made
   to fault; the handler answers in its place, and leaves out what hide() was told of leaf 7,
   where AVX-512, VNNI and AMX are named. Libraries that are loaded afterwards choose their
   kernels by it. See experiments/quantisation.py. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012

static unsigned hidden[2][4]; /* eax, ebx, ecx, edx of its first and second part */

static int faults(int on) { return (int)syscall(SYS_arch_prctl, ARCH_SET_CPUID, !on); }

static void answer(int number, siginfo_t *info, void *context) {
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *at = (const unsigned char *)r[REG_RIP];
    unsigned leaf = (unsigned)r[REG_RAX], part = (unsigned)r[REG_RCX], x[4];
    (void)number, (void)info;
    if (at[0] != 0x0f || at[1] != 0xa2) { /* another fault: let it end the process */
        signal(SIGSEGV, SIG_DFL);
        return;
    }
    faults(0);
    __cpuid_count(leaf, part, x[0], x[1], x[2], x[3]);
    faults(1);
    for (int i = 0; i < 4 && leaf == 7 && part < 2; i++) x[i] &= ~hidden[part][i];
    r[REG_RAX] = x[0], r[REG_RBX] = x[1], r[REG_RCX] = x[2], r[REG_RDX] = x[3];
    r[REG_RIP] += 2;
}

/* Leave these bits out from now on; gives 0 where the processor can do that. */
int hide(const unsigned *bits) {
    struct sigaction how = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
    for (int i = 0; i < 8; i++) hidden[i / 4][i % 4] = bits[i];
    return sigaction(SIGSEGV, &how, 0) || faults(1);
}
