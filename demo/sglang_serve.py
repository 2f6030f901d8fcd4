# SPDX-License-Identifier: Apache-2.0
"""An SGLang engine on the CPU as a process: one JSON command a line in, one JSON answer a line out.

    sglang_serve.py '{"model_path": FOLDER, ...}'

Runs with the Python of tools/sglang-environment.  The argument holds arguments of sglang.Engine
beside those below.  Commands:

    {"generate": [[token, ...], ...], "new_tokens": N}   -> [{"tokens", "cached"}, ...]
    {"flush": true}                                      -> true: own caches empty, storage stays
    {"storage": EXTRA_CONFIG}                            -> true: another instance of the backend
    {"quit": true}                                       -> true, and the process ends

sglang_engine.py is the other end.
"""
import json
import os
import sys
import time

# Not below: the scheduler's process is spawned, and runs what stands here for itself.
import sglang_cpu  # noqa: F401

PAGE_TOKENS = 16
IDLE_LIMIT_S = 30.0

# All of it is small: a start takes seconds, and two engines fit two cores.  float32, for a prefix
# from a cache must not differ from a computed one by so much that the next token changes.
ENGINE = {
    "device": "cpu", "dtype": "float32", "attention_backend": "torch_native",
    "sampling_backend": "pytorch", "grammar_backend": "none",
    "disable_cuda_graph": True, "disable_overlap_schedule": True,
    "page_size": PAGE_TOKENS, "max_total_tokens": 8192, "max_running_requests": 4,
    "chunked_prefill_size": 4096, "random_seed": 1, "log_level": "warning",
    "skip_server_warmup": True, "enable_cache_report": True, "sleep_on_idle": True,
}


def answers(engine, prompts, new_tokens):
    """All requests at once, as far as the engine takes them."""
    said = engine.generate(input_ids=prompts, sampling_params={
        "temperature": 0.0, "max_new_tokens": new_tokens, "ignore_eos": True})
    return [{"tokens": one["output_ids"],
             "cached": one["meta_info"].get("cached_tokens_details") or
             {"device": one["meta_info"].get("cached_tokens", 0)}} for one in said]


def when_idle(call):
    """SGLang refuses some calls while pages are still on their way to storage."""
    end = time.monotonic() + IDLE_LIMIT_S
    while not (answer := call()).success:
        if time.monotonic() > end:
            raise TimeoutError(f"refused for {IDLE_LIMIT_S} s: {answer}")
        time.sleep(0.1)


def change_storage(engine, extra):
    """Detaches the storage backend and attaches it again with another extra config."""
    manager, run = engine.tokenizer_manager, engine.loop.run_until_complete
    when_idle(lambda: run(manager.detach_hicache_storage()))
    when_idle(lambda: run(manager.attach_hicache_storage(
        hicache_storage_backend="dynamic",
        hicache_storage_backend_extra_config_json=json.dumps(extra))))


def obey(engine, command):
    if "generate" in command:
        return answers(engine, command["generate"], command["new_tokens"])
    if "flush" in command:
        when_idle(engine.flush_cache)
    if "storage" in command:
        change_storage(engine, command["storage"])
    return True


def main():
    # SGLang and its libraries print what they like; answers have a descriptor of their own.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import sglang

    engine = sglang.Engine(**{**ENGINE, **json.loads(sys.argv[1])})
    print(json.dumps("ready"), file=out, flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        print(json.dumps(obey(engine, command)), file=out, flush=True)
        if "quit" in command:
            break
    engine.shutdown()


if __name__ == "__main__":
    main()
