"""Four hospitals learn their mean blood pressure: every patient is protected, and no hospital's sum is ever seen.

Run it with: python docs/examples/hospitals.py
"""

import numpy as np

import secagg
from accountants import Ledger
from dpkit import DiscreteGaussianMechanism, FlatClip, private_mean

PATIENTS = 2000  # a public number for each hospital
HOSPITALS = 4

# Each hospital's own records: systolic and diastolic pressure, as deviations from a public guess.
rng = np.random.default_rng(1)
records = [rng.normal([5.0 + hospital, 2.0], [15.0, 10.0], size=(PATIENTS, 2)) for hospital in range(HOSPITALS)]

# One patient moves a hospital's sum by at most 60 in the l2 norm, and the sum says so.
clip = FlatClip(bound=60.0)
sums = [clip.sum(patients) for patients in records]

ledger = Ledger(relation="replace_one", unit="patient")
release = private_mean(
    sums,
    clip=None,
    mechanism=DiscreteGaussianMechanism(noise_multiplier=8.0),
    plan=secagg.BFVSum.plan(HOSPITALS, dim=2, value_bits=20),
    denominator=HOSPITALS * PATIENTS,
    ledger=ledger,
)
truth = np.concatenate(records).mean(axis=0)
print("noisy mean", release.value.round(2), "true mean", truth.round(2))
print(ledger.statement(delta=1e-6))

# Noise on the mean: standard deviation 8 * 60 * sqrt(4/3) / 8000 = 0.07. Clipping at 60 moves it by far less than 0.2.
assert np.abs(release.value - truth).max() < 12 * 0.07 + 0.2
assert 0 < ledger.epsilon(delta=1e-6) < 3
assert len(ledger) == 1
