"""Hypothesis profiles (ci, fresh, deep) and one thread for every numeric library."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from hypothesis import Phase, settings

# The default is the same examples in every run: whether CI is green may not be a matter of luck. New examples are
# looked for with HYPOTHESIS_PROFILE=fresh (as many, drawn anew) and =deep (thousands).
settings.register_profile("ci", max_examples=25, deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile("fresh", max_examples=25, deadline=None)
settings.register_profile("deep", max_examples=5000, stateful_step_count=100, deadline=None)
# For tests/mutants, where a failure is wanted and only that there is one counts: the same examples, none made smaller.
settings.register_profile("killers", settings.get_profile("ci"), phases=(Phase.explicit, Phase.generate))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
