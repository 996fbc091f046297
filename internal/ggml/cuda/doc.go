// Package cuda holds no Go code: its .cu files, GGML's CUDA backend and
// CMakeLists.txt make libggml-cuda.so (`make cuda`). Its tests run the same kernels
// without a GPU, on the emulator in emulate/.
package cuda
