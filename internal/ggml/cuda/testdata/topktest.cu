// Compares topk.cu with a stable sort, on the emulator; prints "ok" or what went wrong.
#include "../launch.h"
#include <algorithm>
#include <random>
#include <vector>

extern "C" void lg_cuda_topk(cudaStream_t s, const ggml_tensor *dst, const lg_params *p);

static int failures, compared;

static void check(const char *kind, int rows, int v, int k, const std::vector<float> &x) {
	std::vector<float> y(2 * (size_t)rows * k + 1, -7.0f);
	ggml_tensor src = {}, dst = {};
	src.ne[0] = v, src.ne[1] = rows, src.ne[2] = src.ne[3] = 1;
	src.data = (void *)x.data();
	dst.ne[0] = k, dst.ne[1] = 2, dst.ne[2] = rows, dst.ne[3] = 1;
	dst.src[0] = &src;
	dst.data = y.data();
	lg_params p = {};
	lg_cuda_topk(nullptr, &dst, &p);
	if (cudaGetLastError() != cudaSuccess) printf("%s: the launch failed\n", kind), failures++;
	if (y.back() != -7.0f) printf("%s %d of %d: written beyond the end\n", kind, k, v), failures++;
	std::vector<int> id(v);
	for (int r = 0; r < rows; r++) {
		const float *row = &x[(size_t)r * v], *got = &y[2 * (size_t)r * k];
		for (int i = 0; i < v; i++) id[i] = i;
		std::stable_sort(id.begin(), id.end(), [&](int a, int b) {
			bool na = std::isnan(row[a]), nb = std::isnan(row[b]);
			return na != nb ? na : row[a] > row[b];
		});
		for (int i = 0; i < k; i++) {
			compared++;
			if (got[k + i] == (float)id[i] && memcmp(got + i, row + id[i], 4) == 0) continue;
			printf("%s, row %d, place %d of %d of %d: got token %g (%g), want %d (%g)\n", kind, r, i, k, v, got[k + i], got[i], id[i], row[id[i]]);
			failures++;
			break;
		}
	}
}

int main() {
	std::mt19937 rng(1);
	std::normal_distribution<float> normal(0, 3);
	const struct {
		const char *name;
		float (*value)(int i, float x);
	} kinds[] = {
		{"normal", [](int, float x) { return x; }},
		{"ties", [](int, float x) { return (float)(int)x; }},
		{"equal", [](int, float) { return -2.5f; }},
		{"zeros of both signs", [](int, float x) { return x > 0 ? 0.0f : x > -2 ? -0.0f : x; }},
		{"ascending", [](int i, float) { return (float)i * 0.125f - 99; }},
		{"descending", [](int i, float) { return 99 - (float)i * 0.125f; }},
		{"close together", [](int, float x) { return 1 + x * 1e-6f; }},
		{"tiny", [](int, float x) { return x * 1e-44f; }},
		{"masked", [](int, float x) { return x < 4 ? -INFINITY : x; }},
		{"infinite", [](int i, float x) { return i % 97 == 5 ? INFINITY : x; }},
		{"NaN", [](int i, float x) { return i % 61 == 7 ? (i % 2 ? NAN : -NAN) : i % 50 == 3 ? INFINITY : x; }},
	};
	for (auto &kind : kinds)
		for (int v : {1, 2, 7, 1030, 5003}) {
			std::vector<float> x(2 * (size_t)v); // rows of odd sizes begin at all addresses
			for (size_t i = 0; i < x.size(); i++) x[i] = kind.value((int)(i % v), normal(rng));
			for (int k : {1, 2, 50, 1024})
				if (k <= v) check(kind.name, 2, v, k, x);
		}
	std::vector<float> x(49152); // a vocabulary's, its last element the largest
	for (float &f : x) f = normal(rng);
	x.back() = 100;
	for (int k : {1, 50, 1024}) check("vocabulary", 1, (int)x.size(), k, x);
	if (failures == 0) printf("ok: %d elements\n", compared);
	return failures != 0;
}
