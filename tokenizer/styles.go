package tokenizer

import "regexp"

// styles are LitGPT's, text for text, and chat_template, which is ours. The first
// is the one a model without a rule gets. default, falcon3 and r1 have no name in
// LitGPT, which cannot choose them by name.
//
// Two texts of LitGPT look wrong. llama2-function-calling really has doubled braces
// and "aspossible", and stays as models were tuned with it. phi-4-reasoning begins
// with "<|im_start>", which is no token of Phi-4; here it is "<|im_start|>".
var styles = []style{
	{
		name: "default", class: "Default",
		text: "{P}",
	},
	{
		name: "alpaca", class: "Alpaca",
		text: "{S}### Instruction:\n{P}\n\n### Response:\n",
		system: "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n" +
			"\n",
		withInput: "{S}### Instruction:\n{P}\n\n### Input:\n{I}\n\n### Response:\n",
		inputSystem: "Below is an instruction that describes a task, paired with an input that provides further context. Write " +
			"a response that appropriately completes the request.\n\n",
	},
	{
		name: "flan", class: "FLAN",
		text: "{S}### Instruction:\n{P}\n\n### Response:\n",
		system: "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n" +
			"\n",
	},
	{
		name: "longform", class: "Longform",
		text: "{S}### Instruction:\n{P}\n\n### Response:\n",
		system: "Below is an instruction that describes a task, paired with an input that provides further context. Write " +
			"a response that appropriately completes the request.\n\n",
	},
	{
		name: "stablelm-alpha", class: "StableLMAlpha",
		text: "<|SYSTEM|>{S}<|USER|>{P}<|ASSISTANT|>",
		system: "# StableLM Tuned (Alpha version)\n" +
			"- StableLM is a helpful and harmless open-source AI language model developed by StabilityAI.\n" +
			"- StableLM is excited to be able to help the user, but will refuse to do anything that could be " +
			"considered harmful to the user.\n" +
			"- StableLM is more than just an information source, StableLM is also able to write poetry, short " +
			"stories, and make jokes.\n- StableLM will refuse to participate in anything that could harm a human.",
		stops: [][]string{{"<|SYSTEM|>"}, {"<|ASSISTANT|>"}, {"<|USER|>"}},
	},
	{
		name: "stablelm-zephyr", class: "StableLMZephyr",
		text: "<|user|>\n{P}<|endoftext|>\n<|assistant|>\n",
	},
	{
		name: "falcon", class: "Falcon",
		text:  "{P}\nAnswer:",
		stops: [][]string{{"User", ":"}, {"Ċ", "User"}},
	},
	{
		name: "falcon3", class: "Falcon3",
		text:  "<|user|>\n{P}<|endoftext|>\n<|assistant|>\n",
		stops: [][]string{{"<|endoftext|>"}},
	},
	{
		name: "llama2-function-calling", class: "Llama2FunctionCalling",
		text: "<FUNCTIONS>{{\"function\": \"search_bing\", \"description\": \"Search the web for content on Bing. This allows " +
			"users to search online/the internet/the web for content.\", \"arguments\": [{{\"name\": \"query\", \"type\": " +
			"\"string\", \"description\": \"The search query string\"}}]}}</FUNCTIONS>\n\n[INST]<<SYS>>\n{S}\n<</SYS>>\n\n" +
			"{P}[/INST]\n\n",
		system: "You are a helpful, respectful and honest assistant. Always answer as helpfully aspossible. Your only " +
			"response should be JSON formatted functions",
	},
	{
		name: "llama2", class: "Llama2",
		text: "[INST] <<SYS>>\n{S}\n<</SYS>>\n\n {P} [/INST] ",
		system: "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being " +
			"safe.  Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or " +
			"illegal content. Please ensure that your responses are socially unbiased and positive in nature.\n\n" +
			"If a question does not make any sense, or is not factually coherent, explain why instead of answering " +
			"something not correct. If you don't know the answer to a question, please don't share false information.",
	},
	{
		name: "llama3", class: "Llama3",
		text: "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n" +
			"{S}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n" +
			"{P}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
		system:     "You are a helpful assistant.",
		stops:      [][]string{{"<|eot_id|>"}},
		carriesBOS: true,
	},
	{
		name: "r1", class: "R1Base",
		text:  "{S}<｜User｜>{P}<｜Assistant｜>",
		stops: [][]string{{"<｜end▁of▁sentence｜>"}},
	},
	{
		name: "freewilly2", class: "FreeWilly2",
		text:   "### System:\n{S}\n\n### User:\n{P}\n\n### Assistant:\n",
		system: "This is a system prompt, please behave and help the user.",
	},
	{
		name: "platypus", class: "Platypus",
		text: "### Instruction:\n\n{P}\n\n### Response:\n",
	},
	{
		name: "stablecode", class: "StableCode",
		text: "###Instruction\n{P}###Response\n",
	},
	{
		name: "codellama", class: "CodeLlama",
		text: "[INST] <<SYS>>\n{S}\n<</SYS>>\n\n{P} [/INST]",
		bare: "[INST] {P} [/INST]",
	},
	{
		name: "phi-1", class: "Phi1",
		text:  "{P}\n\nAnswer:",
		stops: [][]string{{"Answer", ":"}, {"Ċ", "Answer", ":"}},
	},
	{
		name: "phi-2", class: "Phi2",
		text: "Instruct: {P}\nOutput:",
	},
	{
		name: "phi-3", class: "Phi3",
		text:   "<|system|>\n{S}<|end|>\n<|user|>\n{P}<|end|>\n<|assistant|>\n",
		system: "You are a helpful assistant.",
	},
	{
		name: "phi-4", class: "Phi4",
		text: "<|im_start|>system<|im_sep|>{S}<|im_end|><|im_start|>user<|im_sep|>{P}<|im_end|><|im_start|>assistant<|im_sep|>",
		bare: "<|im_start|>user<|im_sep|>{P}<|im_end|><|im_start|>assistant<|im_sep|>",
	},
	{
		name: "phi-4-reasoning", class: "Phi4Reasoning",
		text: "<|im_start|>system<|im_sep|>{S}<|im_end|><|im_start|>user<|im_sep|>{P}<|im_end|><|im_start|>assistant<|im_sep|>",
		system: "You are Phi, a language model trained by Microsoft to help users. Your role as an assistant involves " +
			"thoroughly exploring questions through a systematic thinking process before providing the final precise " +
			"and accurate solutions. This requires engaging in a comprehensive cycle of analysis, summarizing, " +
			"exploration, reassessment, reflection, backtracing, and iteration to develop well-considered thinking " +
			"process. Please structure your response into two main sections: Thought and Solution using the specified " +
			"format: <think> {Thought section} </think> {Solution section}. In the Thought section, detail your " +
			"reasoning process in steps. Each step should include detailed considerations such as analysing " +
			"questions, summarizing relevant findings, brainstorming new ideas, verifying the accuracy of the current " +
			"steps, refining any errors, and revisiting previous steps. In the Solution section, based on various " +
			"attempts, explorations, and reflections from the Thought section, systematically present the final " +
			"solution that you deem correct. The Solution section should be logical, accurate, and concise and detail " +
			"necessary steps needed to reach the conclusion. Now, try to solve the following question through the " +
			"above guidelines:",
	},
	{
		name: "phi-4-mini", class: "Phi4Mini",
		text: "<|system|>{S}<|end|><|user|>{P}<|end|><|assistant|>",
		bare: "<|user|>{P}<|end|><|assistant|>",
	},
	{
		name: "phi-4-mini-reasoning", class: "Phi4MiniReasoning",
		text:   "<|system|>{S}<|end|><|user|>{P}<|end|><|assistant|>",
		system: "Your name is Phi, an AI math expert developed by Microsoft.",
	},
	{
		name: "tinyllama", class: "TinyLlama",
		text:   "<|system|>\n{S}</s>\n<|user|>\n{P}</s>\n<|assistant|>\n",
		system: "You are a friendly chatbot who always gives helpful, detailed, and polite answers.",
	},
	{
		name: "gemma", class: "Gemma",
		text: "<start_of_turn>user\n{P}<end_of_turn>\n<start_of_turn>model\n",
	},
	{
		name: "olmo", class: "OLMo",
		text: "<|endoftext|><|user|>\n{P}\n<|assistant|>\n",
	},
	{
		name: "qwen2.5", class: "Qwen2_5",
		text:   "<|im_start|>system\n{S}<|im_end|>\n<|im_start|>user\n{P}<|im_end|>\n<|im_start|>assistant\n",
		system: "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
	},
	{
		name: "qwen2.5-math", class: "Qwen2_5_Math",
		text:   "<|im_start|>system\n{S}<|im_end|>\n<|im_start|>user\n{P}<|im_end|>\n<|im_start|>assistant\n",
		system: "Please reason step by step, and put your final answer within \\boxed{}.",
	},
	{
		name: "qwq", class: "QwQ",
		text:   "<|im_start|>system\n{S}<|im_end|>\n<|im_start|>user\n{P}<|im_end|>\n<|im_start|>assistant\n",
		system: "You are a helpful and harmless assistant. You are Qwen developed by Alibaba. You should think step-by-step.",
	},
	{
		name: "qwen3", class: "Qwen3",
		text: "<|im_start|>system\n{S}<|im_end|>\n<|im_start|>user\n{P}<|im_end|>\n<|im_start|>assistant\n",
		bare: "<|im_start|>user\n{P}<|im_end|>\n<|im_start|>assistant\n",
	},
	{
		name: "smollm2", class: "SmolLM2",
		text:   "<|im_start|>system\n{S}<|im_end|>\n<|im_start|>user\n{P}<|im_end|>\n<|im_start|>assistant\n",
		system: "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
	},
	{
		name: "salamandra", class: "Salamandra",
		text: "<|im_start|>system\n{S}<|im_end|>\n<|im_start|>user\n{P}<|im_end|>\n<|im_start|>assistant\n",
		system: "I am Salamandra, an AI language model developed at the Barcelona Supercomputing Centre (BSC) by the " +
			"Language Technologies Unit. My knowledge base was last updated on August 2023. Today Date: 2024-09-30\n" +
			"Soy Salamandra, un modelo lingüístico de IA desarrollado en el Barcelona Supercomputing Centre (BSC) por " +
			"la Language Technologies Unit. Mi base de conocimientos se actualizó por última vez en agosto de 2023.\n" +
			"Soc Salamandra, un model de llenguatge d'IA desenvolupat al Barcelona Supercomputing Centre (BSC) per la " +
			"Language Technologies Unit.",
	},
	{name: ChatTemplateStyle, text: "{P}", chatTemplate: true},
}

// styleRules are LitGPT's, in its order but for one: CodeLlama goes before Llama-3,
// or else "CodeLlama-34b-Instruct-hf" is taken for a Llama 3.
var styleRules = []styleRule{
	{regexp.MustCompile(`stablelm-tuned-alpha`), "stablelm-alpha"},
	{regexp.MustCompile(`stablelm-zephyr-3b`), "stablelm-zephyr"},
	{regexp.MustCompile(`stablecode-instruct`), "stablecode"},
	{regexp.MustCompile(`Falcon3.*-Instruct`), "falcon3"},
	{regexp.MustCompile(`falcon.*-instruct`), "falcon"},
	{regexp.MustCompile(`Llama-2-7b-chat-hf-function-calling-v2`), "llama2-function-calling"},
	{regexp.MustCompile(`Llama-2.*-chat`), "llama2"},
	{regexp.MustCompile(`CodeLlama`), "codellama"},
	{regexp.MustCompile(`Llama-3.*-Instruct`), "llama3"},
	{regexp.MustCompile(`OLMo-2.*-(Instruct|SFT|DPO)`), "llama3"},
	{regexp.MustCompile(`R1`), "r1"},
	{regexp.MustCompile(`FreeWilly2`), "freewilly2"},
	{regexp.MustCompile(`Platypus`), "platypus"},
	{regexp.MustCompile(`Mi[sx]tral.*Instruct`), "codellama"},
	{regexp.MustCompile(`phi-1`), "phi-1"},
	{regexp.MustCompile(`phi-2`), "phi-2"},
	{regexp.MustCompile(`Phi-3`), "phi-3"},
	{regexp.MustCompile(`Phi-4-reasoning`), "phi-4-reasoning"},
	{regexp.MustCompile(`Phi-4-mini-reasoning`), "phi-4-mini-reasoning"},
	{regexp.MustCompile(`Phi-4-mini`), "phi-4-mini"},
	{regexp.MustCompile(`phi-4`), "phi-4"},
	{regexp.MustCompile(`tiny-llama.*chat`), "tinyllama"},
	{regexp.MustCompile(`(Code)?Gemma.*-it`), "gemma"},
	{regexp.MustCompile(`OLMo.*-hf`), "olmo"},
	{regexp.MustCompile(`Qwen2\.5-Math-.*`), "qwen2.5-math"},
	{regexp.MustCompile(`Qwen2\.5-.*`), "qwen2.5"},
	{regexp.MustCompile(`QwQ-.*`), "qwq"},
	{regexp.MustCompile(`Qwen3-.*`), "qwen3"},
	{regexp.MustCompile(`SmolLM2.*-Instruct`), "smollm2"},
	{regexp.MustCompile(`salamandra-.*-instruct`), "salamandra"},
}
