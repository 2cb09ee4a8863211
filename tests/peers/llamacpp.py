"""llama.cpp through ctypes: tokens, logits and timing from the shared libraries that fetch.sh brought.

The layouts below are those of include/llama.h at the release the package names (v0.5.0); another version is refused.
"""
import ctypes as c
import json
import os
import pathlib

import numpy as np

VERSION = "3.22.1"
F32, F16 = 0, 1


class ModelParams(c.Structure):
    _fields_ = [("devices", c.c_void_p), ("tensor_buft_overrides", c.c_void_p), ("n_gpu_layers", c.c_int32), ("split_mode", c.c_int),
                ("load_mode", c.c_int), ("lazy_mode", c.c_int), ("main_gpu", c.c_int32), ("tensor_split", c.c_void_p),
                ("progress_callback", c.c_void_p), ("progress_data", c.c_void_p), ("kv_overrides", c.c_void_p),
                ("vocab_only", c.c_bool), ("check_tensors", c.c_bool), ("use_extra_bufts", c.c_bool), ("no_host", c.c_bool),
                ("no_alloc", c.c_bool), ("load_mtp", c.c_bool)]


class ContextParams(c.Structure):
    _fields_ = [(n, c.c_uint32) for n in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_rs_seq", "n_outputs_max",
                                          "n_outputs_max_per_seq")]
    _fields_ += [(n, c.c_int32) for n in ("n_threads", "n_threads_batch", "ctx_type", "rope_scaling_type", "pooling_type",
                                          "attention_type", "flash_attn_type")]
    _fields_ += [(n, c.c_float) for n in ("rope_freq_base", "rope_freq_scale", "yarn_ext_factor", "yarn_attn_factor",
                                          "yarn_beta_fast", "yarn_beta_slow")]
    _fields_ += [("yarn_orig_ctx", c.c_uint32), ("defrag_thold", c.c_float), ("cb_eval", c.c_void_p), ("cb_eval_data", c.c_void_p),
                 ("type_k", c.c_int), ("type_v", c.c_int), ("abort_callback", c.c_void_p), ("abort_data", c.c_void_p)]
    _fields_ += [(n, c.c_bool) for n in ("embeddings", "offload_kqv", "no_perf", "op_offload", "swa_full", "kv_unified")]
    _fields_ += [("samplers", c.c_void_p), ("n_samplers", c.c_size_t), ("ctx_other", c.c_void_p)]


class Batch(c.Structure):
    _fields_ = [("n_tokens", c.c_int32), ("token", c.POINTER(c.c_int32)), ("embd", c.c_void_p), ("pos", c.POINTER(c.c_int32)),
                ("n_seq_id", c.POINTER(c.c_int32)), ("seq_id", c.POINTER(c.POINTER(c.c_int32))), ("logits", c.POINTER(c.c_int8))]


class PoolParams(c.Structure):
    _fields_ = [("cpumask", c.c_bool * 512), ("n_threads", c.c_int), ("prio", c.c_int), ("poll", c.c_uint32), ("strict_cpu", c.c_bool),
                ("paused", c.c_bool)]


SIGNATURES = {
    "llama_model_default_params": (ModelParams,),
    "llama_context_default_params": (ContextParams,),
    "llama_model_load_from_file": (c.c_void_p, c.c_char_p, ModelParams),
    "llama_init_from_model": (c.c_void_p, c.c_void_p, ContextParams),
    "llama_model_get_vocab": (c.c_void_p, c.c_void_p),
    "llama_vocab_n_tokens": (c.c_int32, c.c_void_p),
    "llama_vocab_bos": (c.c_int32, c.c_void_p),
    "llama_vocab_get_add_bos": (c.c_bool, c.c_void_p),
    "llama_vocab_is_eog": (c.c_bool, c.c_void_p, c.c_int32),
    "llama_tokenize": (c.c_int32, c.c_void_p, c.c_char_p, c.c_int32, c.POINTER(c.c_int32), c.c_int32, c.c_bool, c.c_bool),
    "llama_detokenize": (c.c_int32, c.c_void_p, c.POINTER(c.c_int32), c.c_int32, c.c_char_p, c.c_int32, c.c_bool, c.c_bool),
    "llama_get_memory": (c.c_void_p, c.c_void_p),
    "llama_memory_clear": (None, c.c_void_p, c.c_bool),
    "llama_memory_seq_rm": (c.c_bool, c.c_void_p, c.c_int32, c.c_int32, c.c_int32),
    "llama_decode": (c.c_int32, c.c_void_p, Batch),
    "llama_batch_init": (Batch, c.c_int32, c.c_int32, c.c_int32),
    "llama_batch_free": (None, Batch),
    "llama_get_logits_ith": (c.POINTER(c.c_float), c.c_void_p, c.c_int32),
    "llama_set_n_threads": (None, c.c_void_p, c.c_int32, c.c_int32),
    "llama_attach_threadpool": (None, c.c_void_p, c.c_void_p, c.c_void_p),
    "llama_detach_threadpool": (None, c.c_void_p),
    "llama_free": (None, c.c_void_p),
    "llama_model_free": (None, c.c_void_p),
    "llama_backend_init": (None,),
    "llama_log_set": (None, c.c_void_p, c.c_void_p),
}
LOG = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)


class Library:
    """The loaded libraries. `peers` is fetch.sh's directory (default: the environment's QORUS_PEERS); `cpu` names the build of the
    kernels, as in `haswell` (AVX2), instead of the best for this machine."""

    def __init__(self, peers=None, quiet=True, cpu=None):
        peers = peers or os.environ.get("QORUS_PEERS")
        if not peers:
            raise SystemExit("say where llama.cpp is: tests/peers/fetch.sh DIR, then QORUS_PEERS=DIR")
        root = pathlib.Path(peers) / "node_modules" / "@node-llama-cpp" / "linux-x64"
        found = json.loads((root / "package.json").read_text())["version"]
        if found != VERSION:
            raise SystemExit(f"{root} holds version {found}; llamacpp.py is written for {VERSION} (run fetch.sh again)")
        bins = root / "bins" / "linux-x64"
        for stem in ("libggml-base", "libggml", "libllama"):
            path = next(p for p in sorted(bins.glob(stem + "*.so*")) if p.name.split(".")[0] == stem)
            lib = c.CDLL(str(path), mode=c.RTLD_GLOBAL)
            if stem == "libggml-base":
                base = lib
            if stem == "libggml":
                ggml = lib
        for name, (result, *args) in SIGNATURES.items():
            f = getattr(lib, name)
            f.restype, f.argtypes = result, args
            setattr(self, name.removeprefix("llama_"), f)
        self._log = LOG(lambda *_: None)
        if quiet:
            self.log_set(c.cast(self._log, c.c_void_p), None)
        load = ggml.ggml_backend_load if cpu else ggml.ggml_backend_load_all_from_path
        load.argtypes, load.restype = [c.c_char_p], c.c_void_p
        load(str(bins / f"libggml-cpu-{cpu}.so" if cpu else bins).encode())
        self.backend_init()
        self._pools(ggml, base)

    def _pools(self, ggml, base):
        """The thread pool's functions lie in the library of the CPU level that was chosen; its registry entry knows them."""
        for f in (ggml.ggml_backend_dev_by_type, base.ggml_backend_dev_backend_reg, base.ggml_backend_reg_get_proc_address):
            f.restype = c.c_void_p
        registry = c.c_void_p(base.ggml_backend_dev_backend_reg(c.c_void_p(ggml.ggml_backend_dev_by_type(0))))
        for name, result, argument in (("new", c.c_void_p, c.POINTER(PoolParams)), ("free", None, c.c_void_p)):
            address = base.ggml_backend_reg_get_proc_address(registry, b"ggml_threadpool_" + name.encode())
            setattr(self, "pool_" + name, c.CFUNCTYPE(result, argument)(address))
        self.pool_params = base.ggml_threadpool_params_default
        self.pool_params.restype, self.pool_params.argtypes = PoolParams, [c.c_int]


class Model:
    """One model and its vocabulary."""

    def __init__(self, lib, path, vocab_only=False, **params):
        p = lib.model_default_params()
        p.n_gpu_layers, p.vocab_only = 0, vocab_only
        for key, value in params.items():
            setattr(p, key, value)
        self.lib, self.handle = lib, lib.model_load_from_file(str(path).encode(), p)
        if not self.handle:
            raise SystemExit(f"llama.cpp does not load {path}")
        self.vocab = lib.model_get_vocab(self.handle)
        self.n_vocab = lib.vocab_n_tokens(self.vocab)

    def bos(self):
        """The token a text begins with, or None when the model adds none."""
        return self.lib.vocab_bos(self.vocab) if self.lib.vocab_get_add_bos(self.vocab) else None

    def is_end(self, token):
        return self.lib.vocab_is_eog(self.vocab, token)

    def encode(self, text, bos=False, special=False):
        raw = text if isinstance(text, bytes) else text.encode()
        out = (c.c_int32 * (len(raw) + 8))()
        n = self.lib.tokenize(self.vocab, raw, len(raw), out, len(out), bos, special)
        if n < 0:
            raise RuntimeError(f"llama_tokenize wants {-n} tokens")
        return list(out[:n])

    def decode(self, tokens):
        ids = (c.c_int32 * len(tokens))(*tokens)
        out = c.create_string_buffer(64 * len(tokens) + 64)
        n = self.lib.detokenize(self.vocab, ids, len(tokens), out, len(out), False, True)
        return out.raw[:max(n, 0)].decode(errors="replace")

    def close(self):
        self.lib.model_free(self.handle)


class Context:
    """One sequence of a model, or several of `n_ctx` tokens each. The cache is F32 unless asked otherwise, that only the
    arithmetic differs."""

    def __init__(self, model, n_ctx, threads=2, cache=F32, n_batch=512, flash=0, seqs=1):
        self.model, self.lib = model, model.lib
        p = self.lib.context_default_params()
        p.n_ctx, p.n_batch, p.n_ubatch, p.n_seq_max = n_ctx * seqs, n_batch, n_batch, seqs
        p.n_threads = p.n_threads_batch = threads
        p.type_k = p.type_v = cache
        p.flash_attn_type = flash
        p.swa_full = True
        self.n_batch = n_batch
        self.handle = self.lib.init_from_model(model.handle, p)
        if not self.handle:
            raise SystemExit("llama.cpp makes no context")
        self.batch = self.lib.batch_init(n_batch, 0, 1)
        self.length, self.pool = 0, None

    def clear(self):
        self.lib.memory_clear(self.lib.get_memory(self.handle), False)
        self.length = 0

    def start_pool(self, threads):
        """From now on that many threads of a lasting pool, as llama.cpp's own programs have, until close()."""
        params = self.lib.pool_params(threads)
        self.pool = self.lib.pool_new(c.byref(params))
        self.lib.attach_threadpool(self.handle, self.pool, None)
        self.lib.set_n_threads(self.handle, threads, threads)

    def feed(self, tokens, first=0):
        """Runs the tokens after those already fed; returns [rows][vocab] logits of tokens[first:], None when there are none."""
        rows = []
        for start in range(0, len(tokens), self.n_batch):
            part, b = tokens[start:start + self.n_batch], self.batch
            b.n_tokens = len(part)
            for i, token in enumerate(part):
                b.token[i], b.pos[i], b.n_seq_id[i], b.seq_id[i][0] = token, self.length + i, 1, 0
                b.logits[i] = start + i >= first
            if self.lib.decode(self.handle, b) != 0:
                raise RuntimeError("llama_decode failed")
            self.length += len(part)
            for i in range(len(part)):
                if b.logits[i]:
                    rows.append(np.ctypeslib.as_array(self.lib.get_logits_ith(self.handle, i), (self.model.n_vocab,)).copy())
        return np.array(rows) if rows else None

    def step(self, tokens):
        """One more token for each sequence, with its logits."""
        b = self.batch
        b.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            b.token[i], b.pos[i], b.n_seq_id[i], b.seq_id[i][0], b.logits[i] = token, self.length, 1, i, 1
        if self.lib.decode(self.handle, b) != 0:
            raise RuntimeError("llama_decode failed")
        self.length += 1

    def close(self):
        self.lib.batch_free(self.batch)
        self.lib.free(self.handle)
        if self.pool:
            self.lib.pool_free(self.pool)
