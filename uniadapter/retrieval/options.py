"""Options of the retrieval loops."""

from __future__ import annotations

from dataclasses import dataclass

import torch

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class RetrievalOptions:
    """How a split is ranked.

    Args:
        k_test: Length of the shortlists; 0 or None ranks by similarity alone.
        itc_weight: Weight of the cosine in the final score; BLIP 1, the released UniAdapter 0.
        gallery_dtype: Of the stored visual tokens: 'float32', 'float16' or 'bfloat16'.
        text_batch: Texts encoded at once.
        amp_dtype: None, 'float16' or 'bfloat16': run the model under autocast.
        log_seconds: Seconds between two lines of progress.
        folds: Cut the split, in order, into this many galleries and take the mean of their metrics
            (COCO's 1K protocol: 5 folds of the 5,000 test images).
        gallery_dir: Folder in which each rank keeps its visual tokens while the loop runs; None
            for main memory.
    """

    k_test: int | None = 128
    itc_weight: float = 0.0
    gallery_dtype: str = "float32"
    text_batch: int = 256
    amp_dtype: str | None = None
    log_seconds: float = 10.0
    folds: int = 1
    gallery_dir: str | None = None

    @property
    def shortlisted(self) -> int:
        """Length of the shortlists, 0 for none."""
        return int(self.k_test or 0)

    def check(self, cfg: str, size: int, matches: bool = True) -> None:
        """Refuse values outside their range.

        Args:
            cfg: Key of the config that the options stand under, such as ``test_cfg``.
            size: Number of media of the split.
            matches: Whether the model can match, which re-ranking needs.

        Raises:
            ValueError: If one is; the error names key and remedy.
        """
        self.check_values(cfg, matches)
        folds = self.folds
        if not 1 <= folds <= size:
            raise ValueError(f"{cfg}.folds must be in [1, {size}], the split's media; got {folds}")
        of_a_fold = " in a fold" if folds > 1 else ""
        self.check_gallery(cfg, size // folds, f"{size // folds} media{of_a_fold}")

    def check_values(self, cfg: str, matches: bool = True) -> None:
        """As :meth:`check`, of what is wrong whatever the split."""
        k_test = self.k_test
        if k_test is not None and (isinstance(k_test, bool) or k_test != int(k_test) or k_test < 0):
            raise ValueError(
                f"{cfg}.k_test is the length of the shortlists, a whole number (0 or None: no "
                f"re-ranking), got {k_test!r}"
            )
        if self.shortlisted and not matches:
            raise ValueError(
                f"{cfg}.k_test = {self.k_test} re-ranks by image-text matching, and the model has "
                f"model.matching=None: set {cfg}.k_test=0 to rank by similarity alone"
            )
        if self.gallery_dtype not in DTYPES:
            raise ValueError(
                f"{cfg}.gallery_dtype is one of {list(DTYPES)}, got {self.gallery_dtype!r}"
            )
        if self.amp_dtype not in (None, "float16", "bfloat16"):
            raise ValueError(
                f"{cfg}.amp_dtype is None, 'float16' or 'bfloat16', got {self.amp_dtype!r}"
            )
        if self.text_batch < 1:
            raise ValueError(
                f"{cfg}.text_batch is the number of texts at once, got {self.text_batch}"
            )

    def check_gallery(self, cfg: str, limit: int, sizes: str) -> None:
        """Refuse shortlists that are longer than the gallery.

        Args:
            cfg: As for :meth:`check`.
            limit: Fewest candidates of a direction.
            sizes: The gallery's sizes in words.

        Raises:
            ValueError: If they are.
        """
        if self.shortlisted > limit:
            raise ValueError(
                f"{cfg}.k_test = {self.shortlisted} is larger than the gallery: the split "
                f"has {sizes}. Set it to at most {limit}, or to 0 for similarity alone"
            )


@dataclass(frozen=True)
class RetrievalTestOptions(RetrievalOptions):
    """How a test split is ranked; see the base class for the other options.

    Args:
        dump: JSON file to write with the best ten media of every text: ``texts`` (list of
            strings), ``media`` (list of ``id`` and ``path``), ``positives`` (index in ``media`` for
            every text), ``top`` (for every text its best media as [index in ``media``, score], best
            first, shortlisted ones only) and ``skipped`` (paths).
    """

    dump: str | None = None

    def check(self, cfg: str, size: int, matches: bool = True) -> None:
        """As the base class; a ranking is of one gallery."""
        super().check(cfg, size, matches)
        if self.dump is not None and self.folds > 1:
            raise ValueError(f"{cfg}.dump is the ranking of one gallery: leave out {cfg}.folds")
