"""Measurements on a real chat model, SmolLM2-135M-Instruct (`tools/get-smollm2`)."""
