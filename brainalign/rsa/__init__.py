"""Representations compared: distances (`rdms`), spaces (`cka`), statistics (`inference`), maps (`searchlight`)."""

from brainalign.rsa.cka import (
    Convergence,
    cka_matrix,
    cka_models,
    cka_null,
    convergence,
    linear_cka,
    procrustes,
    standardize,
)
from brainalign.rsa.inference import (
    SubjectTests,
    batch_rdms,
    brain_rdms,
    image_batches,
    image_bootstrap,
    mantel_null,
    noise_ceiling,
    reweighted_null,
    reweighted_rdms,
    rival_rdms,
    score,
    subject_tests,
)
from brainalign.rsa.rdms import compare_rdms, feature_rdm, rdm

__all__ = [
    "Convergence", "SubjectTests", "batch_rdms", "brain_rdms", "cka_matrix", "cka_models", "cka_null", "compare_rdms",
    "convergence", "feature_rdm", "image_batches", "image_bootstrap", "linear_cka", "mantel_null", "noise_ceiling",
    "procrustes", "rdm", "reweighted_null", "reweighted_rdms", "rival_rdms", "score", "standardize", "subject_tests",
]  # fmt: skip
