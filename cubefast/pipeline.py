"""Text -> text: encoder, core and decoder of a finished run, put together again."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .config.data import ContextConfig
from .config.run_config import TrainingConfig
from .core import CubicCore, predict
from .data.conversation_context import context_texts, context_weights, gather_rows
from .data.datasets import Parts
from .data.embeddings.encoder_agreement import SAME_ENCODER_COSINE, check_encoder_agreement
from .data.embeddings.vectors import ArrayVectors, Preparation
from .data.encoding.base import Embeddings, TextEncoder
from .data.encoding.create_encoder import as_encoder, is_known_by_name
from .data.encoding.display_names import short_fingerprint
from .data.pairs import PairDataset
from .decoding import Answer, CalibratedThreshold, Decoder, RetrievalDecoder, calibrate_threshold
from .decoding.bank_file import SavedAnswers
from .decoding.search import IndexKind
from .errors import ArtifactError, InputError
from .training.run_folder import RunFolder
from .utils.arrays import real_tensor
from .utils.messages import is_utf8, shown

_NO_ENCODER = (
    "the run was trained on ready embeddings and has no encoder for texts: name the one that made them, such as "
    "openai:MODEL or st:MODEL (--encoder of ask and serve, encoder= of Pipeline.from_run)"
)
LONGEST_TEXT = 100_000
"""The most characters of a question, a turn before it, or an answer."""


def save_answers(run: RunFolder, fingerprint: str, parts: Parts, handicap: float = 0.0, refitted: bool = False) -> None:
    """Write a run's bank of answers, ``answers.safetensors``, see :class:`~cubefast.decoding.bank_file.SavedAnswers`;
    ``refitted``: the core that is served was trained on all answers, not on those of training alone.
    """
    trained = np.ones(len(parts.answers), bool) if refitted else parts.trained
    run.save_answers(SavedAnswers(parts.answers, parts.answer_vectors, fingerprint, parts.prepare, trained, handicap))


def save_threshold(run: RunFolder, core: CubicCore, parts: Parts, precision: float = 0.9) -> CalibratedThreshold:
    """Calibrate on the validation part the score below which a run gives no answer, and write it into the run's folder.

    The right answers of these questions are in the bank. A question about something else tends to score lower; how
    much lower has not been measured.

    Args:
        run: where ``threshold.json`` goes.
        core: a trained core.
        parts: with question -> answer pairs and a bank; what an autoencoder is trained on has no right answers.
        precision: how often what is answered should be right.

    Raises InputError for parts without answers.
    """
    decoder = RetrievalDecoder(parts.answers, core.transform_answers(parts.answer_vectors))
    pairs = parts.validation.pairs()
    rows, scores = decoder.nearest(predict(core, pairs.inputs), 1)
    calibrated = calibrate_threshold(scores[:, 0], rows[:, 0] == pairs.target_ids.numpy(), precision)
    run.save_threshold(calibrated)
    return calibrated


class Pipeline:
    """Answers questions with the encoder, the core and the bank of answers of a finished run.

    Args:
        encoder: the one that the core was trained with; None: questions are given as its embeddings, not as texts.
        core: a trained core.
        decoder: finds texts for the core's embeddings.
        prepare: done to a question's embedding before the core, as in training.
        context: how the turns before a question join its input, as in training; None: not at all.
        prompt: what is put before a question and each of its turns for the encoder, as in training.
        answer_prompt: what is put before an answer for the encoder, as in training.
        plain_decoder: finds texts for the encoder's own embeddings (:meth:`embed_plain`), to compare the core with what
            was there before it; None: there is nothing to compare with.
    """

    def __init__(
        self,
        encoder: TextEncoder | None,
        core: CubicCore,
        decoder: Decoder,
        prepare: Preparation | None = None,
        context: ContextConfig | None = None,
        prompt: str = "",
        answer_prompt: str = "",
        plain_decoder: Decoder | None = None,
    ) -> None:
        self.encoder = encoder
        self.prepare = prepare or Preparation()
        self.core = core.eval()
        self.decoder = decoder
        self.context = context or ContextConfig()
        self.prompt = prompt
        self.answer_prompt = answer_prompt
        self.plain_decoder = plain_decoder

    @classmethod
    def from_run(
        cls,
        path: str | Path,
        *,
        index: IndexKind = "exact",
        mmr: float | None = None,
        threshold: float | Literal["calibrated"] | None = "calibrated",
        further_answers: Sequence[str] = (),
        plain: bool = False,
        encoder: str | TextEncoder | Callable[[list[str]], Any] | None = None,
    ) -> Pipeline:
        """Load the pipeline of ``runs/NAME``.

        Args:
            path: the run's folder.
            encoder: one in place of the run's, by its name in a config, or as a function: list of n texts -> array
                [n, D]. It has to be the one that made the run's embeddings, which is looked at on four of its answers.
                None: the run's own; a run on ready embeddings that names none takes embeddings of questions only.
            further_answers: texts that join the run's answers, and of which it was trained on nothing. The others, to
                which the core was trained to pull questions, get the handicap that validation found.
            index, mmr: see :class:`RetrievalDecoder`.
            threshold: the score below which it says that it does not know; ``calibrated``: what the run found on
                validation, if it did; None: it always answers.
            plain: whether it also gets a ``plain_decoder``: the same answers without the core, its map of answers and
                the handicap, and without ``mmr`` or a threshold.

        Raises:
            ArtifactError: no finished run, a damaged file, or answers made with another encoder than is here.
            InputError: a setting that cannot be, a package that is missing, an encoder that gives other vectors than
                the run has, or further answers without an encoder.
        """
        run = RunFolder.open(path)
        config = run.load_config()
        if threshold == "calibrated":
            calibration = run.load_threshold()
            threshold = calibration.threshold if calibration else None
        core = run.load_served_core()
        bank = run.load_answers()
        if bank is None:
            raise ArtifactError(
                f"the answers of the run, {path}/answers.safetensors, cannot be read: they are not there. Train again"
            )
        if core.dim != bank.vectors.shape[1]:
            raise ArtifactError(
                f"what is in {path} does not belong together: its core takes embeddings of {core.dim} numbers, and its "
                f"answers have {bank.vectors.shape[1]}. Train again"
            )
        used = _encoder_of(run, config, bank, encoder)
        # What denoises single embeddings was trained without turns.
        context = None if config.mode == "autoencoder" and config.data.context.mode == "mean" else config.data.context
        texts, vectors, trained = bank.texts, bank.vectors, bank.trained
        known = set(texts)
        new = dict.fromkeys(_checked(text, "a further answer") for text in further_answers)
        if further := [text for text in new if text not in known]:
            if used is None:
                raise InputError(f"further answers have to be encoded, and {_NO_ENCODER}")
            texts = [*texts, *further]
            vectors = np.concatenate(
                [vectors, bank.prepare(used.encode([config.data.prompts.answer + text for text in further]))]
            )
            trained = np.append(trained, np.zeros(len(further), bool))
        # Of answers that were all trained, a handicap would change nothing.
        handicap = np.where(trained, bank.handicap, 0) if bank.handicap and not trained.all() else None
        plain_decoder = RetrievalDecoder(texts, vectors, index=index) if plain else None
        vectors = core.transform_answers(vectors)
        decoder = RetrievalDecoder(texts, vectors, index=index, mmr=mmr, threshold=threshold, handicap=handicap)
        prompts = config.data.prompts
        return cls(used, core, decoder, bank.prepare, context, prompts.question, prompts.answer, plain_decoder)

    def text_encoder(self) -> TextEncoder:
        """The encoder of texts. Raises InputError where there is none."""
        if self.encoder is None:
            raise InputError(_NO_ENCODER)
        return self.encoder

    @overload
    def __call__(self, questions: str, count: int = 5, *, history: Sequence[str] = ()) -> list[Answer]: ...
    @overload
    def __call__(
        self, questions: list[str], count: int = 5, *, history: Sequence[Sequence[str]] = ()
    ) -> list[list[Answer]]: ...
    @overload
    def __call__(self, questions: NDArray[Any] | Tensor, count: int = 5) -> Any: ...
    def __call__(
        self, questions: str | list[str] | NDArray[Any] | Tensor, count: int = 5, *, history: Any = ()
    ) -> list[Answer] | list[list[Answer]]:
        """The ``count`` best answers to a question, or an empty list if none is known; for several questions, a list of
        these.

        Args:
            questions: one, or several to be answered together, which is faster: texts, or the encoder's embeddings of
                them, an array [D] or [n, D].
            count: of answers.
            history: the turns of the conversation before the question, the earliest first; of several questions, a
                list for each, or nothing. Of texts only.

        Raises InputError for a blank question or turn, turns for a run that was trained without context, texts without
        an encoder, and embeddings of another size, with NaN or all zeros.
        """
        if isinstance(questions, str):
            return self([questions], count, history=[history])[0]
        if isinstance(questions, (np.ndarray, Tensor)) and questions.ndim == 1:
            return self.decoder.decode(self.embed(questions[None], history), count)[0]
        if not len(questions):
            return []
        return self.decoder.decode(self.embed(questions, history), count)

    def embed(self, questions: list[str] | NDArray[Any] | Tensor, history: Sequence[Sequence[str]] = ()) -> Tensor:
        """The core's embedding of each question with the turns before it, for a decoder of your own: float32 [n, D].

        Questions are texts, or the encoder's embeddings of them, [n, D].
        """
        return self.apply_core(self.embed_plain(questions, history))

    def apply_core(self, inputs: Tensor) -> Tensor:
        """Apply the core to inputs of :meth:`embed_plain`, without gradients: [n, D] -> float32 [n, D]."""
        return predict(self.core, inputs)

    def embed_plain(
        self, questions: list[str] | NDArray[Any] | Tensor, history: Sequence[Sequence[str]] = ()
    ) -> Tensor:
        """The encoder's embedding of each question with the turns before it, prepared and combined as in training:
        float32 [n, D], the inputs of the core.

        Raises InputError as calling the pipeline does.
        """
        if isinstance(questions, (np.ndarray, Tensor)):
            return self._prepared(questions, history)
        if history and len(history) != len(questions):
            raise InputError(f"{len(questions)} questions need a list of turns each; got {len(history)} of them")
        inputs = [self._texts(*each) for each in zip(questions, history or [()] * len(questions), strict=True)]
        texts = list(dict.fromkeys(text for turns in inputs for text in turns))
        rows = gather_rows(inputs, {text: row for row, text in enumerate(texts)})
        # The data set that training uses makes the inputs; its targets are not looked at.
        pairs = PairDataset(
            ArrayVectors(self._encode(texts)),
            rows,
            rows[:, 0],
            rows[:, 0],
            weights=context_weights(rows, self.context),
            prepare=self.prepare,
        )
        return pairs.batch(np.arange(len(rows)))[0]

    def _prepared(self, vectors: NDArray[Any] | Tensor, history: Any) -> Tensor:
        """The inputs of the core where a question is given as its embedding."""
        if len(history):
            raise InputError(
                "the turns before a question are texts, which embeddings of questions cannot be joined with"
            )
        rows = real_tensor("embeddings of questions", vectors).numpy()
        if rows.ndim != 2 or rows.shape[1] != self.core.dim:
            raise InputError(f"embeddings of questions must be [n, {self.core.dim}]; got {list(rows.shape)}")
        if not (good := np.isfinite(rows).all(axis=1) & rows.any(axis=1)).all():
            raise InputError(f"the embedding of question {int(good.argmin())} has NaN or Inf, or is all zeros")
        return torch.from_numpy(self.prepare(rows))

    def _encode(self, texts: list[str]) -> Embeddings:
        """float32 [n, D]. Raises InputError where there is no encoder, or it gives another size."""
        found = self.text_encoder().encode(texts)
        if found.shape[1:] != (self.core.dim,):
            raise InputError(
                f"the encoder gives vectors of {found.shape[1]} numbers, and the core takes {self.core.dim}"
            )
        return found

    def embed_answers(self, texts: list[str]) -> NDArray[np.float32]:
        """The embeddings of answers for an index that :meth:`embed`'s embeddings are searched in: float32 [n, D].

        They are the encoder's, prepared as in training; the core has no part in them unless it is one of
        ``sides="both"``, whose map of answers they then go through.

        Raises InputError for a blank text or one that the encoder has no vector for.
        """
        prompted = [self.answer_prompt + _checked(text, "an answer") for text in texts]
        return self.core.transform_answers(self.prepare(self._encode(prompted)))

    def _texts(self, question: str, history: Sequence[str]) -> list[str]:
        """The checked texts of an input."""
        if isinstance(history, str):
            raise InputError("the history must be a list of turns; got a text")
        question = _checked(question, "the question")
        turns = [_checked(turn, f"turn {i} of the history") for i, turn in enumerate(history, start=1)]
        if turns and self.context.mode == "none":
            raise InputError("the run was trained without context (data.context.mode=none): leave the history out")
        return context_texts(question, turns, self.context, self.prompt)


def _encoder_of(
    run: RunFolder,
    config: TrainingConfig,
    bank: SavedAnswers,
    given: str | TextEncoder | Callable[[list[str]], Any] | None,
) -> TextEncoder | None:
    """What questions to a run are encoded with: it must be what made the run's embeddings."""
    named = config.encoder if given is None else given
    if named is None:
        return None
    encoder = as_encoder(named)
    chosen = given is not None or config.data.vectors is not None
    if not chosen and bank.fingerprint != encoder.fingerprint:
        theirs, ours = map(short_fingerprint, (bank.fingerprint, encoder.fingerprint))
        raise ArtifactError(
            f"{run.path} was trained with the encoder {theirs}, and this machine's is {ours}: their embeddings do not "
            "match. Install that version, or train again"
        )
    if chosen or is_known_by_name(encoder):
        name = f"the encoder {shown(named)[1:-1] if isinstance(named, str) else encoder}"
        there = f"the answers of {run.path}"
        cosine = check_encoder_agreement(
            encoder.encode,
            bank.texts,
            bank.vectors,
            bank.prepare,
            prompt=config.data.prompts.answer,
            encoder=name,
            there=there,
        )
        if cosine < SAME_ENCODER_COSINE:
            warnings.warn(
                f"{name} gives vectors a little different from those of {there} (cosine {cosine:.2f}): they may be of "
                "other texts, or lack a prompt (data.prompts)",
                stacklevel=3,
            )
    return encoder


def _checked(text: object, what: str) -> str:
    """The text without surrounding blanks, as in training. Raises InputError if it is not a valid text."""
    if not isinstance(text, str):
        raise InputError(f"{what} must be a text; got {shown(text)}")
    if not text.strip():
        raise InputError(f"{what} is blank")
    if len(text) > LONGEST_TEXT:
        raise InputError(f"{what} has {len(text):,} characters; {LONGEST_TEXT:,} are the most. Shorten it")
    if not is_utf8(text):
        raise InputError(f"{what} has half a surrogate pair: {shown(text)}")
    return text.strip()
