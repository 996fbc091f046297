// Attention of the queries of many sequences to keys and values in the pages of a pool. Queries in runs of more than LG_FEW
// of one sequence, chunks of prompts, are computed by tiles; the others one by one, their keys split over blocks. Which are which lies in device memory: both
// kernels are launched, and pass over what is the other's.
#include "attention_tiles.h"

// y (N, H·D) = softmax(cap(f[0]·q·kᵀ))·v as in lg_cuda_attention; src: q (N, H, D) F32; k, v (S, Hkv, D) of one type, pages of i[2] rows; spans (N, 2) I32, of positions; sequences (N) I32:
// the row of pages that each query has; pages (R, M) I32; scratch as of N sequences of one query, or none. i[1]: what products of long runs are computed in.
void lg_cuda_paged_attention(cudaStream_t s, const ggml_tensor *dst, const lg_params *p) {
	const ggml_tensor *pages = dst->src[5];
	lg_attn a = lg_attn_of(dst, p);
	a.sequences = (const int32_t *)dst->src[4]->data;
	a.pages = (const int32_t *)pages->data;
	a.width = (int)pages->ne[0];
	a.page = (int)p->i[2];
	a.S = a.width * a.page;
	a.len = (int)dst->src[0]->ne[2];
	lg_attention_paged_few(s, a, dst->src[6]);
	if (a.len > LG_FEW) lg_tiles<true>(s, a, 1, (int)p->i[1]);
}
