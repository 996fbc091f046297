#!/usr/bin/env bash
# Asks a machine with a GPU everything, and writes one report:
#
#   tools/gpu.sh                    all stages, in the order of the table below
#   tools/gpu.sh machine build ops  these stages only
#   tools/gpu.sh bundle DIR         what a machine without Go and network needs, on a machine with both:
#                                   copy DIR there and run DIR/tools/gpu.sh
#
# A stage has a time limit of its own; one that fails does not stop the others. The
# exit code is 0 when all that ran passed, 1 when one failed, 2 when there is no GPU.
#
# Environment, all optional:
#   OUT             where gpu-report.md and logs/ go; default build
#   GPU_SECONDS     time for everything; what does not fit is listed as not run; default 580
#   GPU_WORK        where checkpoints are made (30 GiB); default build/gpu
#   CUDA_ARCH, NVCC, CUDA_WHEELS, CUDA_HOME, GGML_DIR   as for tools/cuda.sh
#   LITGPT_SMOLLM2  directory of SmolLM2-135M-Instruct; its shape with random weights stands in for it
#   LLAMA_BENCH     llama.cpp's llama-bench; LLAMA_MODEL is its GGUF file
#   PYTHON          a Python with torch, transformers and peft
#   REHEARSE=1      everything on the CPU with a tiny shape: tries the script, measures nothing
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD

device=cuda big=llama-3-8b middle=tiny-llama-1.1b small=llama-124m smollm2=smollm2-135m long=2048 short=1024 size=8192 prompt=512 peer_device=cuda
if [ -n "${REHEARSE:-}" ]; then
	device=cpu big=tiny middle=tiny small=tiny smollm2=tiny long=128 short=64 size=256 prompt=32 peer_device=cpu
	export OMP_NUM_THREADS=1
fi

# The stages: function, limit in seconds, what it shows. Those that matter most
# come first: when time runs out, the last are not run.
stages=(
	"machine    30  what there is: GPU, driver, compiler, processors, memory"
	"build     420  make cuda for the architecture here"
	"doctor     30  litgpt doctor: library, driver, devices, what would run where"
	"ops       120  every operation on the GPU against the CPU, forward and backward"
	"fixtures  120  logits, losses, gradients, tokens against transformers' and PEFT's, on the GPU"
	"cpu        60  twenty LoRA steps on the GPU and on the CPU: the same losses"
	"resume     60  stopped and resumed, and run twice: the same bytes"
	"lora8b     90  LoRA, BF16, 8B shape, 2x2048 tokens a step"
	"peft8b    120  the same with PEFT"
	"pretrain   60  pretraining 124 M and 1.1 B weights, bf16-mixed"
	"compiled  120  the same with a torch.compile'd loop"
	"decode     90  decoding and prefill of the 8B shape, BF16"
	"torchdec   90  the same with transformers"
	"quantized 150  decoding, prefill and QLoRA of the 8B shape in four bits"
	"small      60  LoRA and decoding of SmolLM2-135M"
	"kernels   150  benchmarks of operations: the peak of matrix products, attention, memory, quantized weights"
	"steps     120  benchmarks of whole training steps and of generation"
	"vmm       120  GGML's virtual memory management on and off"
	"llama      90  llama-bench"
)

skip() { # a stage that cannot run here, and why
	echo "skipped: $*"
	exit 77
}

figure() { # NAME VALUE, a row of the report's table
	printf '| %s | %s |\n' "$1" "$2" | tee -a "$figures"
}

litgpt() {
	local more=()
	# Threads that wait for each other on busy processors would take minutes.
	[ -z "${REHEARSE:-}" ] || [ "$1" = doctor ] || more=(--threads 1)
	"$root/bin/litgpt" "$@" "${more[@]}"
}

# gotest PACKAGE ARGUMENT... runs a package's tests: the test program of a bundle, else with Go.
gotest() {
	local pkg=$1 name
	shift
	name=$(basename "$pkg").test
	if [ -x "$pkg/$name" ]; then
		(cd "$pkg" && "./$name" "${@/#-/-test.}")
	elif command -v "${GO:-go}" >/dev/null; then
		"${GO:-go}" test -count=1 "./$pkg" "$@"
	else
		echo "neither Go nor $pkg/$name is here; 'tools/gpu.sh bundle DIR' makes one on a machine with Go"
		return 1
	fi
}

# tested [-on NAME] PACKAGE ARGUMENT... runs gotest and fails when no test, or none
# with NAME in its own, ran and passed: a GPU that a test does not find is no proof.
tested() {
	local log rc on=
	if [ "$1" = -on ]; then
		on=$2
		shift 2
	fi
	log=$(mktemp)
	LITGPT_DEVICE=$device LITGPT_CUDA_TEST=$([ $device = cpu ] || echo gpu) LITGPT_LIB=${LITGPT_LIB:-$root/lib/litgpt/libggml-cuda.so} gotest "$@" -v 2>&1 | tee "$log"
	rc=${PIPESTATUS[0]}
	local passed skipped
	passed=$(grep -E '^ *--- PASS' "$log" | grep -cF -e "$on")
	skipped=$(grep -cE '^ *--- SKIP' "$log")
	figure "$1: tests passed, failed, skipped" "$passed, $(grep -cE '^ *--- FAIL' "$log"), $skipped"
	rm -f "$log"
	[ "$rc" = 0 ] || return "$rc"
	((passed > 0)) || { echo "no test of $1 ran on the GPU"; return 1; }
}

# speed LOG prints the median tok/s of the steps in a training log after the third.
speed() {
	sed -n 's/.*msg=train .* tok\/s=\([0-9]*\).*/\1/p' "$1" | tail -n +4 | sort -n | awk '{v[NR] = $1} END {if (NR) print v[int((NR + 1) / 2)]; else print "none"}'
}

# random SHAPE makes a checkpoint of tools/shapes/SHAPE once; model says where.
random() {
	local dir=$work/$1 make
	model=$dir
	if [ ! -f "$dir/done" ]; then
		if [ -x bin/randommodel ]; then
			make=(bin/randommodel)
		elif command -v "${GO:-go}" >/dev/null; then
			make=("${GO:-go}" run ./tools/randommodel)
		else
			echo "neither Go nor bin/randommodel is here"
			return 1
		fi
		rm -rf "$dir"
		"${make[@]}" "tools/shapes/$1" demo/tokenizer "$dir" || return 1
		touch "$dir/done"
	fi
}

# samples prints the path of training samples that are longer than 2048 tokens of demo/tokenizer.
samples() {
	local file=$work/long.json
	[ -f "$file" ] || tr '\n\t"\\' '    ' <demo/tinyshakespeare.txt | fold -w 12000 |
		awk 'BEGIN {print "["} length == 12000 {printf "%s{\"instruction\": \"go on\", \"output\": \"%s\"}", n++ ? ",\n" : "", $0} END {print "\n]"}' >"$file"
	echo "$file"
}

python() {
	local p=${PYTHON:-python3}
	command -v "$p" >/dev/null || skip "no $p"
	"$p" -c 'import torch, transformers, peft' 2>/dev/null || skip "$p has no torch, transformers and peft"
	[ $peer_device = cpu ] || "$p" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' || skip "torch sees no GPU"
	"$p" tools/reference/gpu_peft.py --device $peer_device "$@"
}

# peer NAME ARGUMENT... is a figure that gpu_peft.py prints.
peer() {
	local name=$1 out rc=0
	shift
	out=$(python "$@") || rc=$?
	if [ $rc != 0 ]; then
		echo "$out"
		return $rc
	fi
	figure "$name" "$(tail -n1 <<<"$out" | tr '|' '/')"
}

# train NAME ARGUMENT... runs a recipe on the GPU and notes speed and memory.
train() {
	local name=$1 log=$work/train.log
	shift
	rm -rf "$work/run"
	litgpt "$@" --device $device --out_dir "$work/run" --eval.interval 0 --eval.final_validation false --train.save_interval 0 2>&1 | tee "$log"
	[ "${PIPESTATUS[0]}" = 0 ] || return 1
	figure "$name: tok/s, median of the steps after the third" "$(speed "$log")"
	figure "$name: scratch" "$(sed -n 's/.*\(scratch_MiB=[0-9]*\).*/\1/p' "$log")"
	rm -rf "$work/run"
}

stage_machine() {
	nvidia-smi
	nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total,clocks.max.sm,power.limit --format=csv
	nvcc --version 2>/dev/null || /usr/local/cuda/bin/nvcc --version 2>/dev/null || echo "no nvcc in PATH or /usr/local/cuda"
	echo "$(nproc) processors, $(awk '$1 == "MemTotal:" {print int($2 / 1048576)}' /proc/meminfo) GiB, $(df -h --output=avail . | tail -n1 | tr -d ' ') free here"
	sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n1
	"${GO:-go}" version 2>/dev/null || echo "no Go"
	figure "GPU" "$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | paste -sd ';')"
}

stage_build() {
	local start=$SECONDS
	CUDA_ARCH=${CUDA_ARCH:-} tools/cuda.sh || return 1
	figure "make cuda: seconds on $(nproc) processors, size" "$((SECONDS - start)), $(($(stat -c %s lib/litgpt/libggml-cuda.so) >> 20)) MiB"
}

stage_doctor() {
	litgpt doctor || return 1
	litgpt doctor --json >"$logs/doctor.json" || return 1
	# The program must see what nvidia-smi sees.
	[ $device = cpu ] || grep -q '"compute"' "$logs/doctor.json" || { echo "doctor names no GPU"; return 1; }
}

stage_ops() {
	local rc=0
	# The tests with CUDA in their names run on the GPU and on the emulator.
	tested -on "$([ $device = cpu ] || echo /gpu)" internal/tensor -run CUDA || rc=1
	tested -on "$([ $device = cpu ] || echo /gpu)" internal/autograd -run CUDA || rc=1
	return $rc
}

stage_fixtures() { tested -on "$([ $device = cpu ] || echo /gpu)" models -run 'FixturesCUDA|QuantizedCUDA'; }

stage_cpu() {
	local run where args=(finetune --config demo/finetune.yaml --train.max_steps 20 --train.log_interval 1 --eval.interval 0 --eval.final_validation false --lora_dropout 0)
	for run in cpu gpu; do
		where=$([ $run = gpu ] && echo $device || echo cpu)
		rm -rf "$work/run"
		litgpt "${args[@]}" --device "$where" --out_dir "$work/run" >"$work/$run.log" 2>&1 || { cat "$work/$run.log"; return 1; }
		sed -n 's/^msg=train step=\([0-9]*\).* loss=\([0-9.e+-]*\).*/\1 \2/p' "$work/$run.log" >"$work/$run.losses"
	done
	paste -d' ' "$work/cpu.losses" "$work/gpu.losses"
	# Exact float32 products on both: what differs is the order of sums.
	paste -d' ' "$work/cpu.losses" "$work/gpu.losses" | awk '
		NF != 4 || $1 != $3 {print "steps differ: " $0; bad = 1}
		{d = ($2 - $4) / $2; if (d < 0) d = -d; if (d > worst) worst = d}
		END {print "worst relative difference " worst + 0; exit bad || NR != 20 || worst > 1e-3}' | tee "$work/worst" || return 1
	figure "20 LoRA losses, GPU against CPU" "$(tail -n1 "$work/worst")"
}

# once NAME ARGUMENT... trains 8 steps. The folder's name is in the files it
# writes, so all runs have the same and are moved to their own afterwards.
once() {
	local name=$1
	shift
	litgpt "$@" --device $device --train.max_steps 8 --train.save_interval 4 --out_dir "$work/again" >"$work/again.log" 2>&1 || { cat "$work/again.log"; return 1; }
	rm -rf "$work/again-$name"
	mv "$work/again" "$work/again-$name"
}

# again NAME ARGUMENT... runs twice, and the second half once more from the checkpoint of step 4.
again() {
	local name=$1 run rc=0 step
	shift
	rm -rf "$work/again"
	once one "$@" && once two "$@" || return 1
	step=$(cd "$work/again-one" && ls -d step-*4 | head -n1)
	mkdir "$work/again"
	cp -r "$work/again-one/$step" "$work/again/"
	once three "$@" --resume auto || return 1
	grep -q 'msg=resuming' "$work/again.log" || { echo "$name: did not resume"; return 1; }
	for run in two three; do
		if diff -r "$work/again-one/final" "$work/again-$run/final"; then
			figure "$name, run $run against run one" "equal bytes"
		else
			figure "$name, run $run against run one" "DIFFERENT"
			rc=1
		fi
	done
	rm -rf "$work"/again*
	return $rc
}

stage_resume() {
	local rc=0
	again "LoRA" finetune --config demo/finetune.yaml --eval.interval 0 --eval.final_validation false || rc=1
	again "pretraining" pretrain --config demo/pretrain.yaml --eval.interval 0 --eval.final_validation false || rc=1
	return $rc
}

lora_long() { # MODEL NAME BATCH
	train "$2 ${3}x$long" finetune "$1" --data JSON --data.json_path "$(samples)" --data.prompt_style chat_template --precision bf16-true \
		--train.global_batch_size "$3" --train.micro_batch_size "$3" --train.max_seq_length $long --train.max_steps 12 --train.lr_warmup_steps 2 --train.log_interval 1
}

stage_lora8b() {
	random $big || return $?
	litgpt finetune "$model" --data JSON --data.json_path "$(samples)" --precision bf16-true --train.global_batch_size 2 --train.micro_batch_size 2 \
		--train.max_seq_length $long --device $device --out_dir "$work/run" --plan || echo "no plan"
	lora_long "$model" "LoRA $big BF16" 2
}

stage_peft8b() {
	peer "PEFT LoRA $big BF16 2x$long" lora tools/shapes/$big --batch 2 --seq $long --seconds 30 || return $?
	peer "torch BF16 product" matmul --size $size
}

pretrain_shape() { # SHAPE BATCH LENGTH [REMARK]
	train "pretraining $1 $2x$3${4:+ $4}" pretrain "tools/shapes/$1" --tokenizer_dir demo/tokenizer --data.train_data_path demo/tinyshakespeare.txt \
		--precision bf16-mixed --train.global_batch_size "$2" --train.micro_batch_size "$2" --train.max_seq_length "$3" --train.max_steps 15 --train.lr_warmup_steps 2
}

stage_pretrain() {
	local rc=0
	pretrain_shape $small 16 $short || rc=1
	pretrain_shape $middle 4 $long || rc=1
	return $rc
}

stage_compiled() {
	peer "torch.compile pretraining $small 16x$short" pretrain tools/shapes/$small --batch 16 --seq $short --compile --seconds 20 || return $?
	peer "torch.compile pretraining $middle 4x$long" pretrain tools/shapes/$middle --batch 4 --seq $long --compile --seconds 20
}

# generated NAME DIR notes the speed of decoding 128 tokens after 1 and of one token after 512 (cold: the graphs are made in it).
generated() {
	local ids rc=0
	litgpt generate "$2" --device $device --token_ids '[5]' --max_new_tokens 128 --temperature 0 --num_samples 3 2>&1 >/dev/null | tee "$work/decode.log"
	[ "${PIPESTATUS[0]}" = 0 ] || rc=1
	figure "$1: decoding 128 tokens, tok/s of three" "$(sed -n 's/.*msg=generated.* tokens=\([0-9]*\) .*tok\/s=\([0-9.]*\).*/\2 (\1 tokens)/p' "$work/decode.log" | paste -sd ' ')"
	ids="[$(seq -s, 5 $((prompt + 4)))]"
	litgpt generate "$2" --device $device --token_ids "$ids" --max_new_tokens 1 --temperature 0 2>&1 >/dev/null | tee "$work/prefill.log"
	[ "${PIPESTATUS[0]}" = 0 ] || rc=1
	figure "$1: prompt of $prompt, cold" "$(sed -n 's/.*msg=generated.*\(seconds=[0-9.]*\).*/\1/p' "$work/prefill.log")"
	return $rc
}

stage_decode() {
	random $big || return $?
	generated "$big BF16" "$model"
}

stage_torchdec() { peer "transformers decoding $big BF16" decode tools/shapes/$big --prompt $prompt --tokens 128 --compile; }

# To be read beside the figures of lora8b, peft8b, decode and torchdec, which are those in BF16.
stage_quantized() {
	litgpt quantize --help >/dev/null 2>&1 || skip "this litgpt cannot quantize"
	random $big || return $?
	local type file rc=0 start
	for type in Q4_K_M Q4_0; do
		file=$work/$big-$type.gguf
		if [ ! -f "$file" ]; then
			start=$SECONDS
			"$root/bin/litgpt" quantize "$model" "$file" --type $type || return 1
			figure "quantizing $big to $type: seconds on $(nproc) processors, size" "$((SECONDS - start)), $(($(stat -c %s "$file") >> 20)) MiB"
		fi
		generated "$big $type" "$file" || rc=1
		[ $type = Q4_0 ] || lora_long "$file" "QLoRA $big $type" 2 || rc=1
	done
	return $rc
}

stage_small() {
	local rc=0
	if [ -n "${LITGPT_SMOLLM2:-}" ]; then model=$LITGPT_SMOLLM2; else random $smollm2 || return $?; fi
	lora_long "$model" "LoRA SmolLM2-135M BF16" 8 || rc=1
	generated "SmolLM2-135M" "$model" || rc=1
	if [ -n "${LITGPT_SMOLLM2:-}" ]; then tested recipes -run SmolLM2 || rc=1; fi
	return $rc
}

# benched PACKAGE PATTERN runs benchmarks on the GPU; each line is a figure.
benched() {
	local log=$work/bench.log
	LITGPT_DEVICE=$device LITGPT_LIB=${LITGPT_LIB:-$root/lib/litgpt/libggml-cuda.so} gotest "$1" -run '^$' -bench "$2" -benchtime 0.5s 2>&1 | tee "$log"
	[ "${PIPESTATUS[0]}" = 0 ] || return 1
	grep -q ^Benchmark "$log" || { echo "no benchmark $2 in $1"; return 1; }
	local name rest
	while read -r name rest; do figure "$name" "$(tr -s '\t ' ' ' <<<"$rest")" >/dev/null; done < <(grep ^Benchmark "$log")
}

stage_kernels() { benched internal/tensor CUDA; }

stage_steps() { benched recipes 'LoRAStep|FullStep|PretrainStep|Generate'; }

# The library once more, with virtual memory management: one file is compiled
# differently, the others are those of the build.
stage_vmm() {
	[ -f build/cuda/build.ninja ] || skip "build/cuda was not made with ninja"
	local ninja other=$work/vmm/libggml-cuda.so commands one link driver
	ninja=$(sed -n 's/^CMAKE_MAKE_PROGRAM:[A-Z]*=//p' build/cuda/CMakeCache.txt)
	mkdir -p "$work/vmm"
	commands=$("$ninja" -C build/cuda -t commands libggml-cuda.so | tr -d "'") # around paths with an @
	one=$(grep -E ' -c [^ ]*/ggml-cuda\.cu ' <<<"$commands") || { echo "no command for ggml-cuda.cu in build/cuda"; return 1; }
	link=$(tail -n1 <<<"$commands")
	# The driver's library is often there under its versioned name only.
	driver=$(ldconfig -p | sed -n 's/.*libcuda\.so\.1 .*=> //p' | head -n1)
	cat >"$work/vmm/make.sh" <<-END
		set -e
		cd build/cuda
		$(sed -E "s#-DGGML_CUDA_NO_VMM##; s#-o [^ ]+#-o $work/vmm/ggml-cuda.o#; s#-M(T|F) [^ ]+##g; s#-MD##" <<<"$one")
		$(sed -E "s#[^ ]*/ggml-cuda\.cu\.o#$work/vmm/ggml-cuda.o#; s#-o [^ ]*libggml-cuda\.so#-o $other#; s# && :\$##" <<<"$link") ${driver:--l:libcuda.so.1}
	END
	bash "$work/vmm/make.sh" || return 1
	[ -f "$other" ] || { echo "the link left no $other"; return 1; }
	local library name rc=0
	random $smollm2 || return $?
	for library in "$root/lib/litgpt" "$work/vmm" "$root/lib/litgpt" "$work/vmm"; do
		name=$([ "$library" = "$work/vmm" ] && echo "with VMM" || echo "without VMM")
		LITGPT_LIB=$library generated "SmolLM2-135M shape $name" "$model" || rc=1
		LITGPT_LIB=$library pretrain_shape $small 16 $short "$name" || rc=1
	done
	return $rc
}

stage_llama() {
	[ -n "${LLAMA_BENCH:-}" ] || skip "LLAMA_BENCH names no llama-bench"
	[ -n "${LLAMA_MODEL:-}" ] || skip "LLAMA_MODEL names no GGUF file"
	"$LLAMA_BENCH" -m "$LLAMA_MODEL" -p 512 -n 128 -ngl 99 -o md | tee "$work/llama.log"
	[ "${PIPESTATUS[0]}" = 0 ] || return 1
	grep -E 'pp512|tg128' "$work/llama.log" | while read -r line; do figure "llama-bench" "$(tr '|' ' ' <<<"$line" | tr -s ' ')"; done
}

# bundle DIR: a small copy of the repository with programs in place of Go's sources.
bundle() {
	local dir=$1 pkg go=${GO:-go} ggml
	command -v "$go" >/dev/null || { echo "gpu: no $go to make a bundle with" >&2; exit 1; }
	[ ! -e "$dir" ] || [ -f "$dir/tools/gpu.sh" ] || { echo "gpu: $dir is there and no bundle; name another folder" >&2; exit 1; }
	rm -rf "$dir"
	mkdir -p "$dir/bin" "$dir/tools/reference" "$dir/internal/ggml" "$dir/ggml/src"
	# x86-64-v3 runs on every x86 machine that a recent GPU is in.
	export CGO_ENABLED=1 CGO_CFLAGS="-O3 ${ARCH:--march=x86-64-v3}" CGO_CXXFLAGS="-O3 ${ARCH:--march=x86-64-v3}"
	set -e
	"$go" build -ldflags='-s -w' -o "$dir/bin/litgpt" ./cmd/litgpt
	CGO_ENABLED=0 "$go" build -ldflags='-s -w' -o "$dir/bin/randommodel" ./tools/randommodel
	for pkg in internal/tensor internal/autograd models recipes; do
		mkdir -p "$dir/$pkg"
		"$go" test -c -ldflags='-s -w' -o "$dir/$pkg/$(basename "$pkg").test" "./$pkg"
		[ ! -d "$pkg/testdata" ] || cp -r "$pkg/testdata" "$dir/$pkg/"
	done
	ggml=$("$go" list -m -f '{{.Dir}}' github.com/ollama/ollama)/ml/backend/ggml/ggml
	cp -r "$ggml/src/ggml-cuda" "$ggml/src"/*.h "$ggml/src/mem_nvml.cpp" "$dir/ggml/src/"
	cp -r "$ggml/include" "$dir/ggml/"
	cp -r demo "$dir/"
	cp internal/ggml/*.h "$dir/internal/ggml/"
	cp -r internal/ggml/cuda "$dir/internal/ggml/"
	cp tools/gpu.sh tools/cuda.sh tools/cuda-toolkit.txt "$dir/tools/"
	cp -r tools/shapes "$dir/tools/"
	cp tools/reference/gpu_peft.py "$dir/tools/reference/"
	cp go.mod "$dir/"
	git rev-parse --short=12 HEAD >"$dir/COMMIT" 2>/dev/null || rm -f "$dir/COMMIT"
	chmod -R u+w "$dir"
	find "$dir" -name '*.test' -exec gzip -n {} + # unpacked by the first run there
	gzip -n "$dir/bin/litgpt" "$dir/bin/randommodel"
	echo "gpu: $dir, $(du -sm "$dir" | cut -f1) MiB; run tools/gpu.sh in a copy of it" >&2
}

# report writes gpu-report.md from what the stages left.
report() {
	{
		echo "# Report of tools/gpu.sh"
		echo
		echo "$(date -u '+%Y-%m-%d %H:%M UTC'), $(cat COMMIT 2>/dev/null || git rev-parse --short=12 HEAD 2>/dev/null || echo "unknown commit"), $gpus"
		echo
		echo "| stage | verdict | seconds | of | peak MiB of the GPU | shows |"
		echo "|---|---|---|---|---|---|"
		cat "$logs/verdicts"
		echo
		if [ -s "$figures" ]; then
			echo "| figure | value |"
			echo "|---|---|"
			cat "$figures"
			echo
		fi
		local stage
		for stage in "${chosen[@]}"; do
			[ -s "$logs/$stage.log" ] || continue
			echo "## $stage"
			echo
			echo '```'
			tail -n 60 "$logs/$stage.log" | tr '\r' '\n' | cut -c1-300
			echo '```'
			echo
		done
	} >"$out/gpu-report.md"
}

# watch FILE notes the highest use of the GPUs' memory, in MiB, until it is killed.
watch() {
	local most=0 now
	while sleep 0.3; do
		now=$(nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits 2>/dev/null | sort -n | tail -n1)
		[[ $now =~ ^[0-9]+$ ]] && ((now > most)) && echo $((most = now)) >"$1"
	done
}

names=()
for line in "${stages[@]}"; do names+=("${line%% *}"); done

case "${1:-}" in
bundle)
	[ $# = 2 ] || { echo "usage: tools/gpu.sh bundle DIR" >&2; exit 1; }
	bundle "$2"
	exit
	;;
--stage) # one stage, in a process of its own that can be timed out; not for people
	figures=$FIGURES logs=$LOGS work=$WORK
	"stage_$2"
	exit $?
	;;
-*)
	echo "usage: tools/gpu.sh [STAGE...], or bundle DIR; the stages are ${names[*]}" >&2
	exit 1
	;;
esac

chosen=("${@:-}")
[ $# -gt 0 ] || chosen=("${names[@]}")
for name in "${chosen[@]}"; do
	[[ " ${names[*]} " == *" $name "* ]] || { echo "gpu: no stage $name; the stages are ${names[*]}" >&2; exit 1; }
done

out=${OUT:-build}
work=${GPU_WORK:-build/gpu}
mkdir -p "$out" "$work" || exit 1
out=$(realpath "$out") work=$(realpath "$work")
logs=$out/logs figures=$out/logs/figures
rm -rf "$logs"
mkdir -p "$logs"
: >"$figures"
: >"$logs/verdicts"
find bin internal models recipes -name '*.gz' \( -name '*.test.gz' -o -path 'bin/*' \) -exec gunzip -f {} + 2>/dev/null
[ -d ggml/src/ggml-cuda ] && export GGML_DIR=${GGML_DIR:-$root/ggml}
gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU ')
gpus=${gpus:-0}
present=$gpus
[ "$gpus" = 0 ] && gpus="no GPU" || gpus="$gpus GPU(s)"

if [ "$present" != 0 ] && [ ! -x bin/litgpt ]; then
	echo "gpu: no bin/litgpt; run 'make build' first, or make a bundle on a machine with Go" >&2
	exit 1
fi

deadline=$((SECONDS + ${GPU_SECONDS:-580}))
failed=0
for line in "${stages[@]}"; do
	read -r name limit shows <<<"$line"
	[[ " ${chosen[*]} " == *" $name "* ]] || continue
	left=$((deadline - SECONDS))
	[ -z "${REHEARSE:-}" ] || limit=$((10 * limit))
	start=$SECONDS peak=
	if [ "$present" = 0 ]; then
		verdict="no GPU"
	elif ((left < 2)); then
		verdict="not run: no time left"
	else
		((limit < left)) || limit=$left
		echo "== $name: $shows (at most $limit s)" >&2
		rm -f "$work/peak"
		watch "$work/peak" &
		watcher=$!
		FIGURES=$figures LOGS=$logs WORK=$work timeout -k 5 "$limit" "$root/tools/gpu.sh" --stage "$name" >"$logs/$name.log" 2>&1
		rc=$?
		kill "$watcher" 2>/dev/null
		wait "$watcher" 2>/dev/null
		peak=$(cat "$work/peak" 2>/dev/null)
		case $rc in
		0) verdict="pass" ;;
		77) verdict=$(grep -a '^skipped: ' "$logs/$name.log" | tail -n1) verdict=${verdict:-skipped} ;;
		124 | 137) verdict="**FAILED**: not done after $limit s" failed=1 ;;
		*) verdict="**FAILED**: $(grep -av '^ *$' "$logs/$name.log" | tail -n1 | cut -c1-200 | tr '|' '/')" failed=1 ;;
		esac
	fi
	echo "   $name: $verdict ($((SECONDS - start)) s)" >&2
	echo "| $name | $verdict | $((SECONDS - start)) | $limit | $peak | $shows |" >>"$logs/verdicts"
	report # after each, so that it is there when the machine is taken away
done
echo "gpu: $out/gpu-report.md" >&2
[ "$present" = 0 ] && exit 2
exit $failed
