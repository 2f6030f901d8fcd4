# SPDX-License-Identifier: Apache-2.0
"""Between prefill and reuse something happens to the node that has the pages.

Whatever it is: the tokens stay those of an engine without a cache, every request finishes, no
thread of SGLang dies, and no storage call takes long.
"""
import pathlib
import signal
import tempfile
import types
import unittest

import engines
import processes
import sglang_engine
import sglang_model

# A page of this model takes 16 KiB: a few prompts fill the first engine's pool.
POOL = "8mb"
PROMPT = (1000,)
OTHER_TRAFFIC = engines.prompts(10, (2000,) * 6)
FOR_LOSS, FOR_CORRUPTION, FOR_EVICTION, FOR_STOP, FOR_KILL, AFTER_KILL = (
    engines.prompts(seed, PROMPT) for seed in range(11, 17))
AFTER_STOP = engines.prompts(17, (40,) * 20)
WARM_UP = engines.prompts(18, (40,))


def setUpModule():
    global folder, model
    folder = pathlib.Path(unittest.enterModuleContext(tempfile.TemporaryDirectory()))
    model = folder / "model"
    sglang_model.make(model)
    engines.EngineCase.reference = engines.Reference(folder, model, [
        *OTHER_TRAFFIC, *FOR_LOSS, *FOR_CORRUPTION, *FOR_EVICTION, *FOR_STOP, *FOR_KILL,
        *AFTER_KILL, *AFTER_STOP])


class Trouble(engines.EngineCase):
    """The tests run in the order of their names, and share the engines until one is killed.

    The survivor reads by TCP: what is in shared memory can be read from a stopped process as well.
    """

    @classmethod
    def setUpClass(cls):
        address = f"127.0.0.1:{processes.free_port()}"
        # Discovery is served by a third node, so that killing an engine is only that.
        owner = types.SimpleNamespace(enterContext=cls.enterClassContext,
                                      addCleanup=cls.addClassCleanup)
        processes.Node(owner, "--discovery_addr", address)
        extra = sglang_engine.peercache_extra(address)
        cls.other = engines.Watched(folder, "other", model,
                                    {**extra, "global_segment_size": POOL})
        cls.addClassCleanup(cls.other.close)
        cls.survivor = engines.Watched(folder, "survivor", model, {**extra, "protocol": "tcp"})
        cls.addClassCleanup(cls.survivor.close)
        cls.other.engine.ready()
        cls.survivor.engine.ready()
        # Some threads of SGLang start with the first request.
        cls.survivor.compute(WARM_UP)
        cls.threads = cls.survivor.threads()

    def setUp(self):
        self.calls_before = len(self.survivor.calls())

    def tearDown(self):
        calls = self.survivor.calls()[self.calls_before:]
        slowest = max(calls, key=lambda call: call["seconds"])
        print(f"# {self._testMethodName}: {len(calls)} storage calls, the slowest "
              f"{slowest['seconds']:.3f} s: {slowest['call']} of {slowest['keys']} keys")
        self.assertLess(slowest["seconds"], engines.CALL_LIMIT_S)
        self.assertEqual(self.survivor.threads(), self.threads)

    def reuse(self, prompts):
        """The survivor must answer as if nothing had happened; returns the tokens from storage."""
        answers = self.survivor.engine.generate(prompts, engines.NEW_TOKENS,
                                                engines.REQUEST_LIMIT_S)
        self.assert_tokens(prompts, answers)
        return sum(answer["cached"].get("storage", 0) for answer in answers)

    def assert_noticed(self, fault, prompts):
        """The checks of these tests themselves: with this fault in the backend they must fail."""
        self.other.compute(prompts)
        self.survivor.set_fault(fault)
        self.addCleanup(self.survivor.set_fault, "")
        with self.assertRaises(AssertionError):
            self.assert_shared(self.survivor, prompts)

    def test_1_a_backend_that_loses_pages_is_noticed(self):
        self.assert_noticed("lose", FOR_LOSS)

    def test_2_a_backend_that_corrupts_pages_is_noticed(self):
        self.assert_noticed("corrupt", FOR_CORRUPTION)

    def test_3_pages_were_evicted(self):
        self.other.compute(FOR_EVICTION)
        self.other.compute(OTHER_TRAFFIC)
        self.assertLess(self.reuse(FOR_EVICTION), sum(map(engines.full_prefix_tokens,
                                                          FOR_EVICTION)))

    def test_4_the_other_node_stands_still(self):
        self.other.compute(FOR_STOP)
        self.other.engine.signal(signal.SIGSTOP)
        try:
            self.assertEqual(self.reuse(FOR_STOP), 0)
        finally:
            self.other.engine.signal(signal.SIGCONT)
        self.assertTrue(any(self.shares_again(prompt) for prompt in AFTER_STOP))

    def shares_again(self, prompt):
        self.other.compute([prompt])
        return self.reuse([prompt]) == engines.full_prefix_tokens(prompt)

    def test_5_the_other_node_is_killed(self):
        self.other.compute(FOR_KILL)
        self.other.engine.kill()
        self.assertEqual(self.reuse(FOR_KILL), 0)
        self.survivor.compute(AFTER_KILL)
        self.survivor.engine.flush()
        self.assert_shared(self.survivor, AFTER_KILL)


if __name__ == "__main__":
    unittest.main()
