// The emulator's threads: fibers with stacks of their own (context.h), switched
// without a system call or signal. A thread that reaches no barrier runs to its end
// without a switch: the fiber that ran it takes the next one.
#include "context.h"
#include "emulate.h"
#include <mutex>
#include <sys/mman.h>
#include <vector>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace lg_emulate {
namespace {

const int kThreads = 1024;
const size_t kStack = 256 << 10, kGuard = 64 << 10; // only touched pages take memory; a page is at most 64 KiB
const size_t kShared = 227 << 10;

struct fiber {
	context at;
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
context scheduler;
std::vector<fiber *> idle;
fiber *entering;                   // the fiber that begins
int count, next_thread, done;
int warp_from, warp_to, warp_next; // the warp whose ready lanes run, and how far they have
bool backwards;
thread_function body;
const void *arguments;
const char *kernel_name = "";
alignas(128) unsigned char dynamic_shared[kShared];

// leave goes on with the next ready lane of the warp, or with the scheduler.
void leave(fiber *self) {
	while (warp_next < warp_to) {
		int i = warp_next++;
		thread *t = &threads[backwards ? warp_from + warp_to - 1 - i : i];
		if (t->st != READY) continue;
		t->st = RUNNING;
		current = t;
		threadIdx = t->index;
		if (t->f != self) change(self->at, t->f->at);
		return;
	}
	change(self->at, scheduler);
}

void fiber_main() {
	fiber *self = entering;
	for (;;) {
		while (next_thread != count) {
			int i = next_thread++;
			thread *t = &threads[backwards ? count - 1 - i : i];
			current = t;
			t->f = self;
			t->st = RUNNING;
			threadIdx = t->index;
			body(arguments);
			current->st = DONE;
			done++;
		}
		idle.push_back(self);
		leave(self);
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
	if (stack == MAP_FAILED || mprotect(stack, kGuard, PROT_NONE)) {
		perror("litgpt emulator: a fiber's stack");
		abort();
	}
	make(f->at, stack + kGuard, kStack, fiber_main);
	return f;
}

// run_lanes lets the ready lanes of a warp go on, each until it waits or ends; false when there was none.
bool run_lanes(int from, int to) {
	int i = from;
	while (i < to && threads[backwards ? from + to - 1 - i : i].st != READY) i++;
	if (i == to) return false;
	thread *t = &threads[backwards ? from + to - 1 - i : i];
	warp_from = from, warp_to = to, warp_next = i + 1;
	t->st = RUNNING;
	current = t;
	threadIdx = t->index;
	change(scheduler, t->f->at);
	return true;
}

// step_warp runs the lanes that can go on, then completes the collectives that all their lanes have reached; false when there was nothing to do.
bool step_warp(int from, int to) {
	bool moved = run_lanes(from, to);
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
	warp_next = warp_to = 0;
	while (next_thread != count) {
		entering = take_fiber();
		change(scheduler, entering->at);
	}
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
	leave(current->f);
}

void collective(unsigned mask, gather_function gather, void *arguments) {
	if (!(mask >> lane() & 1)) misuse("the mask of a warp collective does not name its caller");
	current->st = IN_COLLECTIVE;
	current->mask = mask;
	current->gather = gather;
	current->arguments = arguments;
	leave(current->f);
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

void run(const char *name, dim3 grid, dim3 block, size_t shared_bytes, thread_function thread, const void *kernel_and_arguments) {
	std::lock_guard<std::mutex> lock(one_launch);
	const char *order = getenv("LITGPT_EMULATE_REVERSE");
	backwards = order && order[0] == '1';
	kernel_name = name;
	body = thread;
	arguments = kernel_and_arguments;
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
