"""Saving a model's adapter so that others can load it by the folder alone."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uniadapter.checkpoints.card import About, write_card
from uniadapter.checkpoints.files import CONFIG_NAME, read_json
from uniadapter.checkpoints.shared import CARD_NAME, save_shared
from uniadapter.utils.safe_io import atomic_write


class SharedModel:
    """What a model that can be shared has: ``save_pretrained`` and ``push_to_hub``.

    Attributes:
        cfg (Config, optional): The config that it was built from.
        transform (InputReader, optional): From pictures and videos to what the data preprocessor
            takes, see :class:`uniadapter.apis.AutoAdapterModel`.
    """

    cfg: Any = None
    transform: Any = None

    @property
    def tokenizer(self) -> Any:
        """The data preprocessor's, from texts to ids and mask; None if there is none."""
        return getattr(self.data_preprocessor, "tokenizer", None)  # type: ignore[attr-defined]

    def save_pretrained(
        self,
        folder: str | Path,
        config: Mapping[str, Any] | None = None,
        with_backbone: bool = False,
        backbone_url: str | None = None,
    ) -> Path:
        """Write a folder that ``AutoAdapterModel.from_pretrained`` loads by itself.

        It holds the trained tensors (safetensors), the tokenizer's files, and a JSON that says how
        the model is built and which file the frozen backbone is.

        Args:
            folder (str | Path): Where; made if missing.
            config (Mapping, optional): The whole config. Defaults to None: :attr:`cfg`, which
                :func:`uniadapter.apis.init_model` and :func:`uniadapter.apis.build_model` set.
            with_backbone (bool): Save the frozen towers and heads beside it, for a backbone that
                others don't have. Defaults to False.
            backbone_url (str, optional): Where others get the backbone's file.

        Returns:
            Path: The folder.

        Raises:
            FileNotFoundError: If the backbone's file or one of the tokenizer does not exist.
            ValueError: If there is no config, it holds anything but data, or what is to be saved
                is not what others could load.
        """
        config = self.cfg if config is None else config
        if config is None:
            raise ValueError(
                "The model does not know its config: pass config=, or build it with init_model or "
                "build_model of uniadapter.apis."
            )
        return save_shared(self, folder, config, with_backbone, backbone_url)

    def push_to_hub(
        self,
        repo_id: str,
        private: bool | None = None,
        token: str | None = None,
        commit_message: str = "Upload adapter",
        **options: Any,
    ) -> str:
        """Upload what :meth:`save_pretrained` writes, with a card, to the Hugging Face Hub.

        Args:
            repo_id (str): ``'user/name'``; made if missing.
            private (bool, optional): Whether a new repository is private. Defaults to None: as the
                account has it.
            token (str, optional): Defaults to None: that of ``hf auth login``.
            commit_message (str): What the upload is called.
            **options: Of :meth:`save_pretrained`.

        Returns:
            str: Address of the upload.

        Raises:
            ImportError: If huggingface_hub is not installed.
            ValueError: As :meth:`save_pretrained`.
        """
        try:
            # Imported here: nothing else of the package knows the Hub.
            from huggingface_hub import HfApi
        except ImportError as error:
            raise ImportError(
                "push_to_hub needs huggingface_hub: pip install huggingface_hub."
            ) from error
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, **options)
            meta = read_json(Path(folder) / CONFIG_NAME, "save it again")
            card = write_card(repo_id, meta, About())
            atomic_write(Path(folder) / CARD_NAME, card.encode())
            hub = HfApi(token=token)
            hub.create_repo(repo_id, private=private, exist_ok=True)
            done = hub.upload_folder(
                repo_id=repo_id, folder_path=folder, commit_message=commit_message
            )
        return str(getattr(done, "commit_url", done))
