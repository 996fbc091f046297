// The emulator's threads: fibers with stacks of their own, switched by
// _setjmp/_longjmp (no system call, no signal; ucontext only makes a fiber's first
// frame). A thread that reaches no barrier runs to its end without a switch: the
// fiber that ran it takes the next one.
#undef _FORTIFY_SOURCE // its longjmp refuses to change stacks
#include "emulate.h"
#include <mutex>
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace lg_emulate {
namespace {

const int kThreads = 1024;
const size_t kStack = 256 << 10, kGuard = 64 << 10; // only touched pages take memory; a page is at most 64 KiB
const size_t kShared = 227 << 10;

struct fiber {
	jmp_buf at;
	ucontext_t first;
	bool started;
};
enum state { NEW, RUNNING, READY, AT_BARRIER, IN_COLLECTIVE, DONE };
struct thread {
	state st;
	fiber *f;
	uint3 index;
	int line;
	unsigned mask;
	gather_function gather;
	void *arguments;
};

std::mutex one_launch; // threadIdx and static shared memory exist once
thread threads[kThreads];
thread *current;
jmp_buf scheduler;
std::vector<fiber *> idle;
fiber *resumed;
int count, next_thread, done;
bool backwards;
thread_function body;
const void *context;
const char *kernel_name = "";
alignas(128) unsigned char dynamic_shared[kShared];

void fiber_main(unsigned hi, unsigned lo) {
	fiber *self = (fiber *)((uintptr_t)hi << 32 | lo);
	for (;;) {
		while (next_thread != count) {
			int i = next_thread++;
			thread *t = &threads[backwards ? count - 1 - i : i];
			current = t;
			t->f = self;
			t->st = RUNNING;
			threadIdx = t->index;
			body(context);
			current->st = DONE;
			done++;
		}
		idle.push_back(self);
		if (!_setjmp(self->at)) _longjmp(scheduler, 1);
	}
}

fiber *take_fiber() {
	if (!idle.empty()) {
		fiber *f = idle.back();
		idle.pop_back();
		return f;
	}
	fiber *f = new fiber();
	char *stack = (char *)mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (stack == MAP_FAILED || mprotect(stack, kGuard, PROT_NONE) || getcontext(&f->first)) {
		perror("litgpt emulator: a fiber's stack");
		abort();
	}
	f->first.uc_stack.ss_sp = stack + kGuard;
	f->first.uc_stack.ss_size = kStack;
	f->first.uc_link = nullptr;
	makecontext(&f->first, (void (*)())fiber_main, 2, (unsigned)((uintptr_t)f >> 32), (unsigned)(uintptr_t)f);
	return f;
}

// resume returns when the fiber waits or has no more threads to run.
void __attribute__((noinline)) resume(fiber *f) {
	resumed = f; // no local variable lives across _setjmp
	if (_setjmp(scheduler)) return;
	if (resumed->started) _longjmp(resumed->at, 1);
	resumed->started = true;
	setcontext(&resumed->first);
}

void __attribute__((noinline)) suspend() {
	fiber *f = current->f;
	if (!_setjmp(f->at)) _longjmp(scheduler, 1);
}

// step_warp runs the lanes that can go on, then completes the collectives that all their lanes have reached; false when there was nothing to do.
bool step_warp(int from, int to) {
	bool moved = false;
	for (int i = from; i < to; i++) {
		thread *t = &threads[backwards ? from + to - 1 - i : i];
		if (t->st != READY) continue;
		t->st = RUNNING;
		current = t;
		threadIdx = t->index;
		resume(t->f);
		moved = true;
	}
	for (int i = from; i < to; i++) {
		thread *t = &threads[i];
		if (t->st != IN_COLLECTIVE) continue;
		void *lanes[32] = {};
		bool complete = true;
		for (int j = from; j < to; j++) {
			if (!(t->mask >> (j - from) & 1)) continue;
			thread *o = &threads[j];
			current = o;
			if (o->st == DONE) misuse("a lane named in the mask of a warp collective has returned");
			if (o->st != IN_COLLECTIVE || o->mask != t->mask) complete = false;
			else if (o->gather != t->gather) misuse("lanes of one mask wait in different warp collectives");
			lanes[j - from] = o->arguments;
		}
		if (!complete) continue;
		current = t;
		if (t->gather) t->gather(lanes);
		for (int j = from; j < to; j++)
			if (t->mask >> (j - from) & 1) threads[j].st = READY;
		moved = true;
	}
	return moved;
}

void run_block() {
	next_thread = done = 0;
	for (int i = 0; i < count; i++) threads[i].st = NEW;
	while (next_thread != count) resume(take_fiber());
	while (done != count) {
		bool moved = false;
		int warps = (count + 31) / 32;
		for (int w = 0; w < warps; w++) {
			int from = 32 * (backwards ? warps - 1 - w : w), to = from + 32 < count ? from + 32 : count;
			while (step_warp(from, to)) moved = true;
		}
		if (moved || done == count) continue;
		for (int i = 0; i < count; i++) {
			current = &threads[i];
			if (current->st == DONE) misuse("a thread has returned while others of its block wait");
			if (current->st == IN_COLLECTIVE) misuse("a lane waits in a warp collective for lanes that wait elsewhere");
			if (current->line != threads[0].line) misuse("threads of one block wait at different __syncthreads()");
		}
		for (int i = 0; i < count; i++) threads[i].st = READY;
	}
}

} // namespace

void misuse(const char *what) {
	uint3 t = current ? current->index : uint3{};
	fprintf(stderr, "litgpt emulator: kernel %s, block (%u, %u, %u), thread (%u, %u, %u): %s\n", kernel_name, blockIdx.x, blockIdx.y, blockIdx.z, t.x, t.y, t.z, what);
	abort();
}

unsigned char *shared() { return dynamic_shared; }

int lane() { return (int)(current - threads) % 32; }

void sync_block(int line) {
	current->st = AT_BARRIER;
	current->line = line;
	suspend();
}

void collective(unsigned mask, gather_function gather, void *arguments) {
	if (!(mask >> lane() & 1)) misuse("the mask of a warp collective does not name its caller");
	current->st = IN_COLLECTIVE;
	current->mask = mask;
	current->gather = gather;
	current->arguments = arguments;
	suspend();
}

void sync_warp(unsigned mask) { collective(mask, nullptr, nullptr); }

namespace {
struct shuffled {
	uint64_t in, out;
	int from;
};
void gather_shuffle(void *lanes[32]) {
	for (int i = 0; i < 32; i++) {
		shuffled *s = (shuffled *)lanes[i];
		if (!s) continue;
		if (s->from < 0 || s->from > 31 || !lanes[s->from]) misuse("a shuffle reads a lane that takes no part");
		s->out = ((shuffled *)lanes[s->from])->in;
	}
}
void gather_ballot(void *lanes[32]) {
	uint64_t votes = 0;
	for (int i = 0; i < 32; i++)
		if (lanes[i] && ((shuffled *)lanes[i])->in) votes |= 1ull << i;
	for (int i = 0; i < 32; i++)
		if (lanes[i]) ((shuffled *)lanes[i])->out = votes;
}
} // namespace

uint64_t shuffle(unsigned mask, uint64_t value, int from) {
	shuffled s{value, 0, from};
	collective(mask, gather_shuffle, &s);
	return s.out;
}

unsigned ballot(unsigned mask, bool predicate) {
	shuffled s{predicate, 0, 0};
	collective(mask, gather_ballot, &s);
	return (unsigned)s.out;
}

void run(const char *name, dim3 grid, dim3 block, size_t shared_bytes, thread_function thread, const void *arguments) {
	std::lock_guard<std::mutex> lock(one_launch);
	const char *order = getenv("LITGPT_EMULATE_REVERSE");
	backwards = order && order[0] == '1';
	kernel_name = name;
	body = thread;
	context = arguments;
	gridDim = grid;
	blockDim = block;
	count = (int)(block.x * block.y * block.z);
	for (int i = 0; i < count; i++) threads[i].index = {i % block.x, i / block.x % block.y, i / block.x / block.y};
	int64_t blocks = (int64_t)grid.x * grid.y * grid.z;
	for (int64_t i = 0; i < blocks; i++) {
		int64_t b = backwards ? blocks - 1 - i : i;
		blockIdx = {(unsigned)(b % grid.x), (unsigned)(b / grid.x % grid.y), (unsigned)(b / grid.x / grid.y)};
		memset(dynamic_shared, 0xff, shared_bytes); // NaN, as good as what a GPU leaves there
		run_block();
	}
	current = nullptr;
}

} // namespace lg_emulate
