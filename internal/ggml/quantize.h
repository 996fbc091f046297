#pragma once
#include "cggml.h"

#ifdef __cplusplus
extern "C" {
#endif

// lg_quantize converts rows of perRow floats to a quantized type. importance, if not NULL, weighs the errors of
// a row's elements. False says that the type is not among those it knows, and nothing was done.
bool lg_quantize(int type, const float *src, uint8_t *dst, int64_t rows, int64_t perRow, const float *importance);

#ifdef __cplusplus
}
#endif
