// Exact causal attention, forward. Few queries go to attention_few.cu.
#include "attention_tiles.h"

bool lg_on_tensor_cores(const lg_attn &a, int compute) {
	return (compute == LG_F16 || compute == LG_BF16) && a.D % 16 == 0 && a.vec && lg_device(cudaDevAttrComputeCapabilityMajor) >= 8;
}

void lg_attention_tiles(cudaStream_t s, const lg_attn &a, int sequences, int compute) { lg_tiles<false>(s, a, sequences, compute); }

// y (N, H·D) = softmax(cap(f[0]·q·kᵀ))·v, cap(s) = f[1]·tanh(s/f[1]), or s where f[1] is 0. src: q (N, H, D) F32; k, v (S, Hkv, D) of one type: F32, F16, BF16 or Q8_0; spans (N, 2) I32;
// scratch F32 of lg_attention_scratch floats, or none. i[0]: sequences, i[1]: what products of many queries run in (F32, F16 or BF16).
// A query without rows gives 0. D up to 256.
void lg_cuda_attention(cudaStream_t s, const ggml_tensor *dst, const lg_params *p) {
	const int sequences = (int)p->i[0], N = (int)dst->src[0]->ne[2];
	if (N == 0 || sequences == 0) return;
	lg_attn a = lg_attn_of(dst, p);
	a.S = (int)dst->src[1]->ne[2];
	a.len = N / sequences;
	if (a.len <= LG_FEW) lg_attention_few_queries(s, a, sequences, dst->src[4]);
	else lg_attention_tiles(s, a, sequences, (int)p->i[1]);
}
