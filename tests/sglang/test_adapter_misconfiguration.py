# SPDX-License-Identifier: Apache-2.0
"""Values that cannot be: refused at once, with a sentence that names what to change."""
import unittest

import host_pool
from harness import AdapterCase


class ClearSentences(AdapterCase):
    def test_tp_lcm_size(self):
        """No multiple of the ranks, no whole number, or more than there can be heads."""
        pool = host_pool.mha("page_head", heads=4)
        for value in ("4", 4.5, -4, 3, 1 << 70, "x"):
            with self.subTest(value):
                with self.assertRaisesRegex(ValueError, "^PeerCache: tp_lcm_size="):
                    self.cluster.store(pool, {"tp_lcm_size": value}, tp_size=2)

    def test_lone_surrogates(self):
        """JSON can hold them; UTF-8 cannot."""
        for name in ("tag", "weights_id", "local_hostname"):
            with self.subTest(name):
                with self.assertRaisesRegex(ValueError, f"^PeerCache: .*{name}=.*Unicode"):
                    self.cluster.store(options={name: "\ud800"})
        self.cluster.store(options={"foreign-\ud800": 1})

    def test_addresses_that_are_no_integers(self):
        """Refused at registration, not missed for ever."""
        pool = host_pool.mha()
        meta = pool.get_page_buffer_meta
        pool.get_page_buffer_meta = lambda indices: (list(map(float, meta(indices)[0])),
                                                     meta(indices)[1])
        with self.assertRaisesRegex(ValueError, "^PeerCache: .*addresses"):
            self.cluster.store(pool)


if __name__ == "__main__":
    unittest.main()
