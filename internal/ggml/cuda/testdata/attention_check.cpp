// Attention's kernels on the emulator against double precision, and against our CPU kernels. Arrays end at pages
// that cannot be read; rows of keys and values that no query sees hold NaN. Prints the largest errors, and
// the cases that are beyond their tolerance.
#include "../attention.h"
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

void attention(ggml_tensor *dst, int ith, int nth, void *params);
void attention_back(ggml_tensor *dst, int ith, int nth, void *params);
void paged_attention(ggml_tensor *dst, int ith, int nth, void *params);

// What our CPU kernels ask GGML for, which is not here: the one quantized type that caches have.
static void q8_0_floats(const void *x, float *y, int64_t k) {
	for (int64_t i = 0; i < k; i++) {
		const char *block = (const char *)x + i / 32 * 34;
		uint16_t d;
		memcpy(&d, block, 2);
		y[i] = lg_f16_to_f32(d) * (float)(signed char)block[2 + i % 32];
	}
}
extern "C" const ggml_type_traits *ggml_get_type_traits(ggml_type type) {
	static const ggml_type_traits q8_0 = {"q8_0", 32, 0, 34, true, q8_0_floats, nullptr};
	if (type != GGML_TYPE_Q8_0) {
		fprintf(stderr, "type %d is asked for\n", (int)type);
		abort();
	}
	return &q8_0;
}

static uint64_t state = 1;
static float uniform() { // in (-1, 1)
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (float)((double)(int64_t)state / 9.3e18);
}

// An array whose end, rounded up to 16 bytes, is where a page begins that cannot be read.
struct array {
	char *map, *data;
	size_t size, mapped;
	explicit array(size_t size) : size(size) {
		size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (size + 15) / 16 * 16, pages = (body + page - 1) / page * page;
		mapped = pages + page;
		map = (char *)mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		mprotect(map + pages, page, PROT_NONE);
		data = map + pages - body;
		memset(data, 0xff, body);
	}
	~array() { munmap(map, mapped); }
	array(const array &) = delete;
	float *f() { return (float *)data; }
};

struct sizes {
	int D, H, Hkv, len, B, window, past;
	float cap; // 0: none
	int N() const { return len * B; }
	// score is f·dot, capped; slope its derivative by dot.
	double score(double f, double dot) const { return cap > 0 ? cap * tanh(f * dot / cap) : f * dot; }
	double slope(double f, double dot) const { return cap > 0 ? f * (1 - pow(tanh(f * dot / cap), 2)) : f; }
};

static std::string name(const sizes &c, int type, int compute) {
	char s[200];
	snprintf(s, sizeof s, "D %d, heads %d/%d, len %d, sequences %d, window %d, past %d, cap %g, type %d, compute %d", c.D, c.H, c.Hkv, c.len, c.B, c.window, c.past, c.cap, type, compute);
	return s;
}

static int failures, both_orders;
struct errors {
	const char *what;
	double limit, worst;
	int cases;
};
static errors forward_errors[] = {{"forward F32", 1e-5, 0, 0}, {"forward F16", 4e-3, 0, 0}, {"forward BF16", 2e-2, 0, 0}};
static errors backward_errors[] = {{"backward F32", 1e-5, 0, 0}, {"backward F16", 4e-3, 0, 0}, {"backward BF16", 2e-2, 0, 0}};
static errors paged_errors[] = {{"paged F32", 1e-5, 0, 0}, {"paged F16", 4e-3, 0, 0}, {"paged BF16", 2e-2, 0, 0}};
static errors cpu_errors = {"against the CPU", 2e-5, 0, 0};
static int kind(int compute) { return compute == LG_F32 ? 0 : compute == LG_F16 ? 1 : 2; }

// compare checks rows of d numbers: |got-want| at most the limit times the norm of the row of scale, the sums that want is
// with every term's absolute value (a first query's dq is 0, but of numbers that cancel).
static void compare(errors &e, const std::string &name, const char *what, const float *got, const double *want, const double *scale, int64_t rows, int d) {
	double worst = 0;
	int64_t at = 0;
	for (int64_t r = 0; r < rows; r++) {
		double diff = 0, norm = 0;
		for (int i = 0; i < d; i++) {
			double x = got[r * d + i] - want[r * d + i];
			diff += x * x;
			norm += scale[r * d + i] * scale[r * d + i];
		}
		double rel = norm > 0 ? sqrt(diff / norm) : diff > 0 || std::isnan(diff) ? INFINITY : 0;
		if (std::isnan(rel)) rel = INFINITY;
		if (rel > worst) worst = rel, at = r;
	}
	e.cases++;
	if (worst > e.worst) e.worst = worst;
	if (worst > e.limit && failures++ < 20) printf("FAIL %s: %s: row %lld of %lld: error %.3g, want at most %.3g (got %g, want %g)\n", name.c_str(), what, (long long)at, (long long)rows, worst, e.limit, got[at * d], want[at * d]);
}

static void tensor(ggml_tensor &t, int type, void *data, int64_t a, int64_t b = 1, int64_t c = 1) {
	t = ggml_tensor();
	t.type = (ggml_type)type;
	t.data = data;
	t.ne[0] = a, t.ne[1] = b, t.ne[2] = c, t.ne[3] = 1;
}

// make_kv fills S rows with numbers, or NaN where no query looks, in memory as type and in x as what that holds.
static void make_kv(array &out, std::vector<double> &x, int type, int S, int width, const std::vector<bool> &seen) {
	for (int s = 0; s < S; s++)
		for (int i = 0; i < width; i++) {
			int64_t e = (int64_t)s * width + i;
			float f = seen[s] ? uniform() : NAN;
			if (type == LG_F32) out.f()[e] = f;
			else if (type == LG_F16) ((__half *)out.data)[e] = f, f = ((__half *)out.data)[e];
			else if (type == LG_BF16) ((__nv_bfloat16 *)out.data)[e] = f, f = ((__nv_bfloat16 *)out.data)[e];
			else {
				char *block = out.data + e / 32 * 34;
				if (e % 32 == 0) *(__half *)block = seen[s] ? 0.002f + 0.01f * (uniform() + 1) : NAN;
				((signed char *)block)[2 + e % 32] = (signed char)(seen[s] ? 127 * f : 1);
				f = *(__half *)block * (float)((signed char *)block)[2 + e % 32];
			}
			x[e] = f;
		}
}

// launch runs a kernel; one time in four also with the emulator's threads in the opposite order, which must give the same bits.
static void launch(void (*f)(cudaStream_t, const ggml_tensor *, const lg_params *), const ggml_tensor &dst, const lg_params &p, array &result) {
	static unsigned turn;
	f(nullptr, &dst, &p);
	if (turn++ % 4) return;
	std::vector<char> before(result.data, result.data + result.size);
	memset(result.data, 0xff, result.size);
	setenv("LITGPT_EMULATE_REVERSE", "1", 1);
	f(nullptr, &dst, &p);
	setenv("LITGPT_EMULATE_REVERSE", "0", 1);
	both_orders++;
	if (memcmp(before.data(), result.data, result.size) && failures++ < 20) printf("FAIL launch %u: the order of threads changes the result\n", turn);
}

static size_t bytes_of(int type, int64_t n) { return type == LG_F32 ? n * 4 : type == LG_Q8_0 ? n / 32 * 34 : n * 2; }

static void forward(const sizes &c, int type, int compute, bool holes, bool scratch) {
	const int N = c.N(), D = c.D, G = c.H / c.Hkv, stride = c.past + c.len + 3, S = 2 + c.B * stride, wide = c.Hkv * D;
	array q(N * c.H * D * 4), k(bytes_of(type, (int64_t)S * wide)), v(bytes_of(type, (int64_t)S * wide)), spans(N * 8), y(N * c.H * D * 4);
	std::vector<bool> seen(S);
	int32_t *span = (int32_t *)spans.data;
	for (int n = 0; n < N; n++) {
		int first = 2 + n / c.len * stride, to = first + c.past + n % c.len + 1, from = c.window && to - c.window > first ? to - c.window : first;
		if (holes && n % 3 == 0) to = from;
		span[2 * n] = from, span[2 * n + 1] = to;
		for (int s = from; s < to; s++) seen[s] = true;
	}
	std::vector<double> kx((size_t)S * wide), vx((size_t)S * wide), want((size_t)N * c.H * D), scale(want.size());
	make_kv(k, kx, type, S, wide, seen);
	make_kv(v, vx, type, S, wide, seen);
	for (int i = 0; i < N * c.H * D; i++) q.f()[i] = 3 * uniform();
	const float f = 1 / sqrtf((float)D);
	for (int n = 0; n < N; n++)
		for (int h = 0; h < c.H; h++) {
			std::vector<double> p;
			double top = -INFINITY, sum = 0;
			for (int s = span[2 * n]; s < span[2 * n + 1]; s++) {
				double dot = 0;
				for (int d = 0; d < D; d++) dot += q.f()[(n * c.H + h) * D + d] * kx[(size_t)s * wide + h / G * D + d];
				p.push_back(c.score(f, dot));
				top = fmax(top, p.back());
			}
			for (double &x : p) sum += x = exp(x - top);
			for (size_t j = 0; j < p.size(); j++)
				for (int d = 0; d < D; d++) {
					double x = p[j] / sum * vx[(size_t)(span[2 * n] + j) * wide + h / G * D + d];
					want[(n * c.H + h) * D + d] += x;
					scale[(n * c.H + h) * D + d] += fabs(x);
				}
		}
	int64_t room = scratch ? lg_attention_scratch(N, c.B, c.H, c.Hkv, D, S) : 0;
	array part((size_t)room * 4);
	ggml_tensor t[6];
	tensor(t[0], LG_F32, q.data, D, c.H, N);
	tensor(t[1], type, k.data, D, c.Hkv, S);
	tensor(t[2], type, v.data, D, c.Hkv, S);
	tensor(t[3], 26, spans.data, 2, N);
	tensor(t[4], LG_F32, part.data, room);
	tensor(t[5], LG_F32, y.data, c.H * D, N);
	for (int i = 0; i < 4; i++) t[5].src[i] = &t[i];
	if (room) t[5].src[4] = &t[4];
	lg_params p = {};
	p.f[0] = f;
	p.f[1] = c.cap;
	p.i[0] = c.B;
	p.i[1] = compute;
	launch(lg_cuda_attention, t[5], p, y);
	std::string what = name(c, type, compute) + (holes ? ", holes" : "") + (room ? ", split" : "");
	if (cudaGetLastError() != cudaSuccess && failures++ < 20) printf("FAIL %s: not launched\n", what.c_str());
	int used = c.len <= 16 || D % 16 ? LG_F32 : compute;
	compare(forward_errors[kind(used)], what, "y", y.f(), want.data(), scale.data(), (int64_t)N * c.H, D);
	if (type == LG_Q8_0 || holes || used != LG_F32) return;
	std::vector<float> got(y.f(), y.f() + N * c.H * D);
	attention(&t[5], 0, 1, &p);
	std::vector<double> cpu(y.f(), y.f() + N * c.H * D);
	compare(cpu_errors, what, "y against the CPU", got.data(), cpu.data(), scale.data(), (int64_t)N * c.H, D);
}

// A run of n queries of one sequence, at positions from past on.
struct run {
	int past, n;
};

// paged checks attention to pages that lie in the opposite order; pages and rows that nothing sees hold NaN. The last run is of padding, which sees nothing.
static void paged(const sizes &c, int type, int compute, int page, const std::vector<run> &runs, bool scratch) {
	const int D = c.D, G = c.H / c.Hkv, wide = c.Hkv * D, R = (int)runs.size();
	int N = 0, width = 0, tiles = 0;
	for (auto &r : runs) N += r.n, width = std::max(width, (r.past + r.n + page - 1) / page), tiles |= r.n > LG_FEW;
	const int S = (R * width + 1) * page;
	array q(N * c.H * D * 4), k(bytes_of(type, (int64_t)S * wide)), v(bytes_of(type, (int64_t)S * wide)), spans(N * 8), y(N * c.H * D * 4), sequences(N * 4), pages(R * width * 4);
	int32_t *span = (int32_t *)spans.data, *sequence = (int32_t *)sequences.data, *table = (int32_t *)pages.data;
	std::vector<bool> seen(S);
	for (int i = 0; i < R * width; i++) table[i] = R * width - i;
	auto row = [&](int n, int p) { return table[sequence[n] * width + p / page] * page + p % page; };
	for (int r = 0, n = 0; r < R; r++)
		for (int i = 0; i < runs[r].n; i++, n++) {
			int to = runs[r].past + i + 1, from = c.window && to > c.window ? to - c.window : 0;
			if (r == R - 1) from = to = 0;
			span[2 * n] = from, span[2 * n + 1] = to, sequence[n] = R - 1 - r;
			for (int p = from; p < to; p++) seen[row(n, p)] = true;
		}
	std::vector<double> kx((size_t)S * wide), vx((size_t)S * wide), want((size_t)N * c.H * D), scale(want.size());
	make_kv(k, kx, type, S, wide, seen);
	make_kv(v, vx, type, S, wide, seen);
	for (int i = 0; i < N * c.H * D; i++) q.f()[i] = 3 * uniform();
	const float f = 1 / sqrtf((float)D);
	for (int n = 0; n < N; n++)
		for (int h = 0; h < c.H; h++) {
			std::vector<double> p;
			double top = -INFINITY, sum = 0;
			for (int s = span[2 * n]; s < span[2 * n + 1]; s++) {
				double dot = 0;
				for (int d = 0; d < D; d++) dot += q.f()[(n * c.H + h) * D + d] * kx[(size_t)row(n, s) * wide + h / G * D + d];
				p.push_back(c.score(f, dot));
				top = fmax(top, p.back());
			}
			for (double &x : p) sum += x = exp(x - top);
			for (size_t j = 0; j < p.size(); j++)
				for (int d = 0; d < D; d++) {
					double x = p[j] / sum * vx[(size_t)row(n, span[2 * n] + (int)j) * wide + h / G * D + d];
					want[(n * c.H + h) * D + d] += x;
					scale[(n * c.H + h) * D + d] += fabs(x);
				}
		}
	int64_t room = scratch ? lg_attention_scratch(N, N, c.H, c.Hkv, D, width * page) : 0;
	array part((size_t)room * 4);
	ggml_tensor t[8];
	tensor(t[0], LG_F32, q.data, D, c.H, N);
	tensor(t[1], type, k.data, D, c.Hkv, S);
	tensor(t[2], type, v.data, D, c.Hkv, S);
	tensor(t[3], 26, spans.data, 2, N);
	tensor(t[4], 26, sequences.data, N);
	tensor(t[5], 26, pages.data, width, R);
	tensor(t[6], LG_F32, part.data, room);
	tensor(t[7], LG_F32, y.data, c.H * D, N);
	for (int i = 0; i < 6; i++) t[7].src[i] = &t[i];
	if (room) t[7].src[6] = &t[6];
	lg_params p = {};
	p.f[0] = f;
	p.f[1] = c.cap;
	p.i[1] = compute;
	p.i[2] = page;
	launch(lg_cuda_paged_attention, t[7], p, y);
	std::string what = name(c, type, compute) + ", pages of " + std::to_string(page) + (room ? ", split" : "");
	if (cudaGetLastError() != cudaSuccess && failures++ < 20) printf("FAIL %s: not launched\n", what.c_str());
	const int used = !tiles || D % 16 ? LG_F32 : compute;
	compare(paged_errors[kind(used)], what, "y", y.f(), want.data(), scale.data(), (int64_t)N * c.H, D);
	if (type == LG_Q8_0 || used != LG_F32) return;
	std::vector<float> got(y.f(), y.f() + N * c.H * D);
	t[7].src[6] = nullptr;
	paged_attention(&t[7], 0, 1, &p);
	std::vector<double> cpu(y.f(), y.f() + N * c.H * D);
	compare(cpu_errors, what, "y against the CPU", got.data(), cpu.data(), scale.data(), (int64_t)N * c.H, D);
}

static void backward(const sizes &c, int compute, float size) {
	const int N = c.N(), D = c.D, G = c.H / c.Hkv, wide = c.Hkv * D;
	const int64_t nq = (int64_t)N * c.H * D, nk = (int64_t)N * wide;
	array q(nq * 4), k(nk * 4), v(nk * 4), dy(nq * 4), spans(N * 8), out((nq + 2 * nk) * 4), stats(lg_attention_back_scratch(N, c.H) * 4);
	int32_t *span = (int32_t *)spans.data;
	for (int n = 0; n < N; n++) {
		int first = n / c.len * c.len, to = n + 1, from = c.window && to - c.window > first ? to - c.window : first;
		span[2 * n] = from, span[2 * n + 1] = to;
	}
	for (int64_t i = 0; i < nq; i++) q.f()[i] = 3 * uniform(), dy.f()[i] = size * uniform();
	for (int64_t i = 0; i < nk; i++) k.f()[i] = uniform(), v.f()[i] = uniform();
	const float f = 1 / sqrtf((float)D);
	std::vector<double> want(nq + 2 * nk), scale(nq + 2 * nk);
	for (int n = 0; n < N; n++)
		for (int h = 0; h < c.H; h++) {
			const float *qr = q.f() + (n * c.H + h) * D, *yr = dy.f() + (n * c.H + h) * D;
			std::vector<double> p, slope, dp, dp_scale;
			double top = -INFINITY, sum = 0, delta = 0, delta_scale = 0;
			for (int s = span[2 * n]; s < span[2 * n + 1]; s++) {
				double dot = 0, dv = 0, dv_scale = 0;
				for (int d = 0; d < D; d++) {
					double x = yr[d] * v.f()[s * wide + h / G * D + d];
					dot += qr[d] * k.f()[s * wide + h / G * D + d], dv += x, dv_scale += fabs(x);
				}
				p.push_back(c.score(f, dot));
				slope.push_back(c.slope(f, dot));
				dp.push_back(dv);
				dp_scale.push_back(dv_scale);
				top = fmax(top, p.back());
			}
			for (double &x : p) sum += x = exp(x - top);
			for (size_t j = 0; j < p.size(); j++) p[j] /= sum, delta += p[j] * dp[j], delta_scale += p[j] * dp_scale[j];
			for (size_t j = 0; j < p.size(); j++) {
				double ds = slope[j] * p[j] * (dp[j] - delta), ds_scale = f * p[j] * (dp_scale[j] + delta_scale);
				for (int d = 0; d < D; d++) {
					int64_t iq = (int64_t)(n * c.H + h) * D + d, ik = (int64_t)(span[2 * n] + j) * wide + h / G * D + d;
					want[iq] += ds * k.f()[ik], scale[iq] += ds_scale * fabs(k.f()[ik]);
					want[nq + ik] += ds * qr[d], scale[nq + ik] += ds_scale * fabs(qr[d]);
					want[nq + nk + ik] += p[j] * yr[d], scale[nq + nk + ik] += p[j] * fabs(yr[d]);
				}
			}
		}
	ggml_tensor t[7];
	tensor(t[0], LG_F32, q.data, D, c.H, N);
	tensor(t[1], LG_F32, k.data, D, c.Hkv, N);
	tensor(t[2], LG_F32, v.data, D, c.Hkv, N);
	tensor(t[3], 26, spans.data, 2, N);
	tensor(t[4], LG_F32, dy.data, c.H * D, N);
	tensor(t[5], LG_F32, stats.data, lg_attention_back_scratch(N, c.H));
	tensor(t[6], LG_F32, out.data, nq + 2 * nk);
	for (int i = 0; i < 6; i++) t[6].src[i] = &t[i];
	lg_params p = {};
	p.f[0] = f;
	p.f[1] = c.cap;
	p.i[0] = c.B;
	p.i[1] = compute;
	launch(lg_cuda_attention_back, t[6], p, out);
	std::string what = name(c, LG_F32, compute) + (size == 1 ? "" : ", small gradients");
	if (cudaGetLastError() != cudaSuccess && failures++ < 20) printf("FAIL %s: not launched\n", what.c_str());
	int used = D % 16 || D > 128 ? LG_F32 : compute;
	const char *part[] = {"dq", "dk", "dv"};
	for (int i = 0; i < 3; i++) {
		int64_t at = i == 0 ? 0 : i == 1 ? nq : nq + nk, rows = (i == 0 ? nq : nk) / D;
		compare(backward_errors[kind(used)], what, part[i], out.f() + at, &want[at], &scale[at], rows, D);
	}
	if (used != LG_F32) return;
	std::vector<float> got(out.f(), out.f() + nq + 2 * nk);
	attention_back(&t[6], 0, 1, &p);
	std::vector<double> cpu(out.f(), out.f() + nq + 2 * nk);
	compare(cpu_errors, what, "dq against the CPU", got.data(), cpu.data(), scale.data(), nq / D, D);
	compare(cpu_errors, what, "dk, dv against the CPU", got.data() + nq, cpu.data() + nq, scale.data() + nq, 2 * nk / D, D);
}

int main() {
	const int heads[][2] = {{1, 1}, {3, 1}, {6, 2}}, types[] = {LG_F32, LG_F16, LG_BF16, LG_Q8_0}, computes[] = {LG_F32, LG_F16, LG_BF16};
	const float caps[] = {0, 1.5f, 30};
	unsigned turn = 0; // what is not crossed in full takes turns
	for (int D : {1, 8, 20, 32, 64, 80, 128, 256})
		for (auto &h : heads)
			for (int len : {1, 2, 5, 17, 33, 70})
				for (int B : {1, 3}) {
					if (h[0] * B * len > 210 || (h[0] * B == 18 && D % 64)) continue; // time; nothing in them that smaller ones lack
					int type = types[turn % 4], compute = computes[turn / 2 % 3], window = turn / 3 % 2 ? 7 : 0;
					if (type == LG_Q8_0 && D % 32) type = LG_BF16;
					turn++;
					forward({D, h[0], h[1], len, B, window, len > 16 ? 5 : turn % 3 ? 20 : 150, caps[turn / 4 % 3]}, type, compute, turn % 5 == 0, turn % 7 != 0);
					forward({D, h[0], h[1], len, B, 0, 0, caps[(turn / 4 + 1) % 3]}, LG_F32, computes[(turn / 2 + 1) % 3], false, true);
					if (turn % 2 || len > 16) backward({D, h[0], h[1], len, B, window, 0, caps[turn / 2 % 3]}, computes[(turn + turn / 4) % 3], turn % 4 ? 1.0f : 1e-7f);
				}
	for (int type : types) // every type with every compute type, and a long cache
		for (int compute : computes) {
			forward({64, 6, 2, 33, 1, 0, 3}, type, compute, false, true);
			forward({128, 3, 1, 20, 1, 9, 3}, type, compute, true, true);
			forward({64, 4, 2, 1, 1, 0, 1500}, type, compute, false, true);
		}
	for (int D : {16, 32, 48, 64, 80, 96, 112, 128}) // every size of tile on tensor cores, over several tiles
		for (int compute : {LG_F16, LG_BF16}) {
			forward({D, 1, 1, 140, 1, D % 32 ? 50 : 0, 0}, LG_F32, compute, false, false);
			backward({D, 1, 1, 140, 1, D % 32 ? 50 : 0, 0}, compute, 1);
			backward({D, 1, 1, 140, 1, D % 32 ? 50 : 0, 0, 1.5f}, compute, 1); // its first pass is the forward one
		}
	forward({192, 1, 1, 70, 1, 0, 0}, LG_BF16, LG_BF16, false, false);
	forward({256, 2, 1, 70, 1, 0, 0, 1.5f}, LG_BF16, LG_BF16, false, false);
	backward({256, 2, 1, 40, 1, 0, 0, 1.5f}, LG_BF16, 1);
	const std::vector<run> batches[] = {{{0, 1}, {0, 1}}, {{150, 1}, {40, 2}, {31, 1}, {0, 3}}, {{3, 20}, {90, 1}, {7, 1}, {0, 2}}, {{20, 1}, {10, 40}, {5, 17}, {60, 1}, {0, 20}}, {{0, 75}, {2, 1}, {0, 2}}};
	for (int D : {8, 20, 64, 96, 128, 256})
		for (auto &batch : batches) {
			int type = types[turn % 4], compute = computes[turn / 2 % 3];
			auto &h = heads[turn % 3];
			if (type == LG_Q8_0 && D % 32) type = LG_F16;
			if (D > 96 && batch[0].n > 20) continue; // time
			paged({D, h[0], h[1], 0, 0, turn / 3 % 2 ? 13 : 0, 0, caps[turn / 4 % 3]}, type, compute, 16 << turn % 3, batch, turn % 4 != 3);
			turn++;
		}
	for (int type : types)
		for (int compute : computes) paged({64, 4, 2, 0, 0, 0, 0, 0}, type, compute, 32, batches[2], true);
	for (auto *table : {forward_errors, backward_errors, paged_errors})
		for (int i = 0; i < 3; i++) printf("%s: %d results, largest error %.2g (limit %.0g)\n", table[i].what, table[i].cases, table[i].worst, table[i].limit);
	printf("%s: %d results, largest error %.2g (limit %.0g)\n", cpu_errors.what, cpu_errors.cases, cpu_errors.worst, cpu_errors.limit);
	printf("%d launches in both orders of threads\n%s\n", both_orders, failures ? "FAIL" : "ok");
	return failures ? 1 : 0;
}
