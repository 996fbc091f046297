// A context is where a fiber goes on: change leaves one and goes on with another.
// On x86-64 it is ten instructions; elsewhere _setjmp and _longjmp, which make no
// system call, with ucontext for a fiber's first frame.
#pragma once
#undef _FORTIFY_SOURCE // its longjmp refuses to change stacks
#include <cstddef>
#include <cstdint>

#if defined(__x86_64__) && !defined(LITGPT_EMULATE_PORTABLE)

struct context {
	void *sp;
};

// What a call preserves in x86-64's System V ABI but for the floating-point modes, which kernels do not change.
extern "C" void lg_change(void **from, void *to);
asm(".text\n"
	".p2align 4\n"
	".hidden lg_change\n"
	".globl lg_change\n"
	".type lg_change, @function\n"
	"lg_change:\n"
	"	pushq %rbp\n	pushq %rbx\n	pushq %r12\n	pushq %r13\n	pushq %r14\n	pushq %r15\n"
	"	movq %rsp, (%rdi)\n	movq %rsi, %rsp\n"
	"	popq %r15\n	popq %r14\n	popq %r13\n	popq %r12\n	popq %rbx\n	popq %rbp\n"
	"	ret\n"
	".size lg_change, .-lg_change\n");

static inline void change(context &from, const context &to) { lg_change(&from.sp, to.sp); }

// make begins with entry, which never returns, on the stack [stack, stack+size).
static inline void make(context &c, char *stack, size_t size, void (*entry)()) {
	void **top = (void **)(((uintptr_t)stack + size) & ~(uintptr_t)15);
	*--top = nullptr; // entry finds the stack as after a call
	*--top = (void *)entry;
	for (int i = 0; i < 6; i++) *--top = nullptr;
	c.sp = top;
}

#else

#include <setjmp.h>
#include <ucontext.h>

struct context {
	jmp_buf at;
	ucontext_t first;
	bool fresh;
};

static void __attribute__((noinline)) change(context &from, context &to) {
	if (_setjmp(from.at)) return;
	if (!to.fresh) _longjmp(to.at, 1);
	to.fresh = false;
	setcontext(&to.first);
}

static inline void make(context &c, char *stack, size_t size, void (*entry)()) {
	getcontext(&c.first);
	c.first.uc_stack.ss_sp = stack;
	c.first.uc_stack.ss_size = size;
	c.first.uc_link = nullptr;
	makecontext(&c.first, entry, 0);
	c.fresh = true;
}

#endif
