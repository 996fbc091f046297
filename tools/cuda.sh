#!/usr/bin/env bash
# Builds lib/litgpt/libggml-cuda.so, or installs the compiler for it:
#
#   tools/cuda.sh           what `make cuda` runs
#   tools/cuda.sh toolkit   nvcc, cuBLAS, cmake and ninja as Python wheels into build/cuda-toolkit
#
# Environment, all optional (docs/cuda.md):
#   CUDA_ARCH    architectures to compile for: 90, or "80;90"; default those of the GPUs here
#   NVCC         the compiler
#   CUDA_WHEELS  where pip put nvidia-cuda-nvcc: a virtual environment, site-packages or its nvidia/cu13
#   CUDA_HOME    an installed toolkit
#   GGML_DIR     ml/backend/ggml/ggml of the pinned module; default is where Go keeps it
#   CMAKE        cmake
#   JOBS         compilers at a time; default one per processor, and per 2 GiB of free memory
set -euo pipefail
cd "$(dirname "$0")/.."

build=build/cuda
toolkit=build/cuda-toolkit
library=lib/litgpt/libggml-cuda.so

fail() {
	echo "cuda: $*" >&2
	exit 1
}

# wheels DIR prints the folder of nvcc's wheels in or below DIR.
wheels() {
	local d
	for d in "$1" "$1"/nvidia/cu13 "$1"/lib/python3*/site-packages/nvidia/cu13; do
		if [ -x "$d/bin/nvcc" ]; then
			echo "$d"
			return
		fi
	done
	return 1
}

# find_nvcc sets nvcc, where cmake and ninja may lie beside it (tools), and from (for messages).
find_nvcc() {
	tools=
	local root
	if [ -n "${NVCC:-}" ]; then
		nvcc=$(command -v "$NVCC") || fail "NVCC=$NVCC is no program"
		from="NVCC"
	elif [ -n "${CUDA_WHEELS:-}" ]; then
		root=$(wheels "$CUDA_WHEELS") || fail "CUDA_WHEELS=$CUDA_WHEELS holds no nvidia/cu13/bin/nvcc; a virtual environment with nvidia-cuda-nvcc is wanted"
		nvcc=$root/bin/nvcc from="CUDA_WHEELS" tools=$CUDA_WHEELS/bin
	elif [ -n "${CUDA_HOME:-}" ]; then
		nvcc=$CUDA_HOME/bin/nvcc from="CUDA_HOME"
		[ -x "$nvcc" ] || fail "CUDA_HOME=$CUDA_HOME holds no bin/nvcc"
	elif root=$(wheels "$toolkit"); then
		nvcc=$root/bin/nvcc from="$toolkit" tools=$toolkit/bin
	elif nvcc=$(command -v nvcc); then
		from="PATH"
	elif [ -x /usr/local/cuda/bin/nvcc ]; then
		nvcc=/usr/local/cuda/bin/nvcc from="/usr/local/cuda"
	else
		fail "no nvcc in NVCC, CUDA_WHEELS, CUDA_HOME, $toolkit, PATH or /usr/local/cuda; 'make cuda-toolkit' installs one with pip"
	fi
	nvcc=$(realpath -s "$nvcc")
	local home
	home=$(dirname "$(dirname "$(realpath "$nvcc")")")
	# The wheels have lib/, where nvcc looks for lib64/.
	if [ ! -d "$home/lib64" ] && [ -d "$home/lib" ]; then
		export LIBRARY_PATH="$home/lib${LIBRARY_PATH:+:$LIBRARY_PATH}"
	fi
	[ -z "$tools" ] || tools=$(realpath "$tools" 2>/dev/null || true)
}

# find_cmake sets cmake and the generator.
find_cmake() {
	local path=${tools:+$tools:}$PATH
	cmake=$(PATH="$path" command -v "${CMAKE:-cmake}") || fail "no cmake 3.24 or later: 'pip install cmake', 'apt-get install cmake', or set CMAKE"
	"$cmake" --version >/dev/null 2>&1 || fail "$cmake does not run"
	if ninja=$(PATH="$path" command -v ninja); then
		generator=(-G Ninja "-DCMAKE_MAKE_PROGRAM=$ninja")
	elif command -v make >/dev/null; then
		generator=(-G "Unix Makefiles")
	else
		fail "neither ninja nor make is there for cmake to build with"
	fi
	command -v "${CXX:-g++}" >/dev/null || fail "no C++ compiler ${CXX:-g++}, which nvcc needs: 'apt-get install g++'"
}

# architectures sets arch, cmake's list: from CUDA_ARCH, or from the GPUs that the driver knows.
architectures() {
	if [ -n "${CUDA_ARCH:-}" ]; then
		arch=${CUDA_ARCH//[, ]/;}
		[[ $arch =~ ^[0-9]+[af]?(-real|-virtual)?(\;[0-9]+[af]?(-real|-virtual)?)*$ ]] || fail "CUDA_ARCH=$CUDA_ARCH: numbers as 90 or \"80;90\" wanted"
	else
		local caps
		caps=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | grep -E '^[0-9]+\.[0-9]+$' | sort -u) ||
			fail "no GPU here: set CUDA_ARCH, e.g. CUDA_ARCH=90"
		arch=$(echo "$caps" | tr -d '.' | paste -sd ';')
	fi
	local known a
	known=$("$nvcc" --list-gpu-arch 2>/dev/null | sed -n 's/^compute_//p' | tr '\n' ' ') || true
	[ -n "$known" ] || fail "$nvcc does not run; try: $nvcc --version"
	for a in ${arch//;/ }; do
		a=${a%%-*}
		[[ " $known" == *" ${a%[af]} "* ]] || fail "$nvcc cannot compile for $a; it knows $known"
	done
}

# find_ggml sets ggml, the module's folder, and version, its name in go.mod.
find_ggml() {
	version=$(awk '$1 == "github.com/ollama/ollama" {print $1, $2}' go.mod)
	[ -n "$version" ] || fail "go.mod does not name github.com/ollama/ollama"
	if [ -n "${GGML_DIR:-}" ]; then
		ggml=$(realpath "$GGML_DIR" 2>/dev/null) || fail "GGML_DIR=$GGML_DIR is no folder"
	else
		command -v "${GO:-go}" >/dev/null || fail "no ${GO:-go} to find GGML's sources with; install Go, or set GGML_DIR to ml/backend/ggml/ggml of $version"
		"${GO:-go}" mod download github.com/ollama/ollama || fail "$version cannot be downloaded; without a network set GGML_DIR to its ml/backend/ggml/ggml"
		ggml=$("${GO:-go}" list -m -f '{{.Dir}}' github.com/ollama/ollama)/ml/backend/ggml/ggml
	fi
	[ -f "$ggml/src/ggml-cuda/ggml-cuda.cu" ] || fail "$ggml has no src/ggml-cuda/ggml-cuda.cu; GGML_DIR is to be ml/backend/ggml/ggml of $version"
}

# jobs prints how many compilers may run: one takes up to 2 GiB.
jobs_here() {
	local n free
	n=$(env -u OMP_NUM_THREADS nproc) # which would mean something else
	free=$(awk '$1 == "MemAvailable:" {print int($2 / 2097152)}' /proc/meminfo 2>/dev/null || echo "$n")
	((free >= 1)) || free=1
	((n < free)) && echo "$n" || echo "$free"
}

# errors LOG prints the first line of it that says what is wrong.
errors() {
	grep -m1 -iE '(^|[^a-z-])(error|fatal|not found|no space)' "$1" || tail -n1 "$1"
}

compile() {
	find_nvcc
	find_cmake
	architectures
	find_ggml
	echo "cuda: $nvcc ($from), architectures $arch, GGML of $version" >&2
	mkdir -p "$build"
	# cmake keeps the compiler and the generator of the first time; others want a new folder.
	local choice="$nvcc ${generator[1]} $ggml"
	if [ -f "$build/choice" ] && [ "$(cat "$build/choice")" != "$choice" ]; then
		rm -rf "$build"
		mkdir -p "$build"
	fi
	echo "$choice" >"$build/choice"
	"$cmake" "${generator[@]}" -S internal/ggml/cuda -B "$build" -DGGML_DIR="$ggml" -DLITGPT_GGML="$version" \
		-DCMAKE_CUDA_COMPILER="$nvcc" -DCMAKE_CUDA_ARCHITECTURES="$arch" >"$build/configure.log" 2>&1 ||
		fail "cmake stopped: $(errors "$build/configure.log" | tr -s ' '); all of it is in $build/configure.log"
	"$cmake" --build "$build" --parallel "${JOBS:-$(jobs_here)}" 2>&1 | tee "$build/build.log" ||
		fail "the build stopped: $(errors "$build/build.log"); all of it is in $build/build.log"
	[ -f "$build/libggml-cuda.so" ] || fail "the build left no $build/libggml-cuda.so"
	mkdir -p "$(dirname "$library")"
	# Renamed into place: a program that has the old one loaded keeps it.
	cp "$build/libggml-cuda.so" "$library.new" && mv "$library.new" "$library" || fail "$library cannot be written"
	echo "cuda: $library, $(($(stat -c %s "$library") >> 20)) MiB" >&2
}

install_toolkit() {
	command -v python3 >/dev/null || fail "no python3 to install the wheels with: 'apt-get install python3-venv'"
	mkdir -p build
	[ -x "$toolkit/bin/pip" ] || python3 -m venv "$toolkit" >build/cuda-toolkit.log 2>&1 ||
		fail "python3 -m venv stopped: $(tail -n1 build/cuda-toolkit.log); 'apt-get install python3-venv' may help"
	"$toolkit/bin/pip" install --disable-pip-version-check --quiet -r tools/cuda-toolkit.txt ||
		fail "pip could not install tools/cuda-toolkit.txt into $toolkit"
	echo "cuda: $(wheels "$toolkit")/bin/nvcc" >&2
}

case "${1:-build}" in
build) compile ;;
toolkit) install_toolkit ;;
*) fail "unknown argument $1; build or toolkit wanted" ;;
esac
