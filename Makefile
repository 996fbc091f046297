# litgpt in Go. `make` builds bin/litgpt; `make demo` finetunes and talks to the
# bundled model; `make test` runs the tests. Needs Go and a C++ compiler, nothing else.

GO      ?= go
PREFIX  ?= /usr/local
# GGML and our kernels use the vector instructions they are compiled for.
# For a binary that runs elsewhere: make build ARCH=-march=x86-64-v3
ARCH    ?= $(if $(filter Darwin-arm64,$(shell uname -s)-$(shell uname -m)),-mcpu=native,-march=native)
export CGO_ENABLED  = 1
export CGO_CFLAGS   = -O3 $(ARCH)
export CGO_CXXFLAGS = -O3 $(ARCH)

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
# What is pure Go runs under the race detector; the rest would need GGML instrumented.
PURE = ./internal/data ./internal/durable ./internal/gguf ./internal/grammar ./internal/pth ./internal/progress ./internal/repl ./internal/safetensors ./internal/sample ./internal/settings ./internal/toolcall ./tokenizer/...

.PHONY: build demo test check bench cuda cuda-toolkit test-cuda bundle install clean clean-cuda tools-present

build: tools-present
	$(GO) build -o bin/litgpt ./cmd/litgpt

tools-present:
	@command -v $(GO) >/dev/null || { echo "Go 1.26 or later is missing: https://go.dev/dl, or 'apt-get install golang', 'brew install go'"; exit 1; }
	@command -v $${CXX:-c++} >/dev/null || command -v g++ >/dev/null || { echo "A C++ compiler is missing: 'apt-get install g++', 'dnf install gcc-c++', or on macOS 'xcode-select --install'"; exit 1; }

# Finetunes demo/model on dialogues from Shakespeare, then lets you talk to it.
demo: build
	rm -rf out/demo/finetune
	bin/litgpt finetune --config demo/finetune.yaml
	@if [ -t 0 ]; then bin/litgpt chat out/demo/finetune/final; \
	else printf '%s\n' 'Good morrow, my lord.' 'What news from Rome?' | bin/litgpt chat out/demo/finetune/final; fi

test: tools-present
	$(GO) test ./...

check: tools-present
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "not gofmt-ed: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) test -race -short $(PURE)

bench: tools-present
	$(GO) test -run '^$$' -bench . -benchtime 1s ./...

# lib/litgpt/libggml-cuda.so, which the program loads where there is a GPU
# (docs/cuda.md). CUDA_ARCH=90 or "80;90" where there is none; the toolkit is nvcc
# as Python wheels, for machines without CUDA's own.
cuda:
	@GO="$(GO)" CUDA_ARCH="$(CUDA_ARCH)" JOBS="$(JOBS)" tools/cuda.sh

cuda-toolkit:
	@tools/cuda.sh toolkit

# Everything a machine with a GPU is asked, into build/gpu-report.md.
test-cuda: build
	@GO="$(GO)" tools/gpu.sh

# What tools/gpu.sh needs on a machine with a GPU but without Go: build/gpu-bundle.
bundle: tools-present
	@GO="$(GO)" tools/gpu.sh bundle build/gpu-bundle

install: build
	install -D -m 755 bin/litgpt $(DESTDIR)$(PREFIX)/bin/litgpt
	@if [ -f lib/litgpt/libggml-cuda.so ]; then \
		echo install -D -m 755 lib/litgpt/libggml-cuda.so $(DESTDIR)$(PREFIX)/lib/litgpt/libggml-cuda.so; \
		install -D -m 755 lib/litgpt/libggml-cuda.so $(DESTDIR)$(PREFIX)/lib/litgpt/libggml-cuda.so; fi

clean:
	rm -rf bin out

# Apart from clean: the library takes half an hour to build, the toolkit 1.1 GB to fetch.
clean-cuda:
	rm -rf lib build
