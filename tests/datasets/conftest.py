"""What published sets are made from, in small: WSJ0, LibriSpeech, WHAM!'s noise, lists and tables."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

RATE = 16000

#: The two utterances of one mixture in each split, with their levels in dB.
UTTERANCES = {
    "tr": ("wsj0/si_tr_s/01t/01to030v.wav", 1.5, "wsj0/si_tr_s/20g/20ga010m.wav", -1.5),
    "cv": ("wsj0/si_tr_s/01t/01to0301.wav", 0.47027, "wsj0/si_tr_s/20g/20ga0101.wav", -0.47027),
    "tt": ("wsj0/si_et_05/440/440c0401.wav", 2.38244, "wsj0/si_dt_05/050/050a0501.wav", -2.38244),
}
NAMES = {
    "tr": "01to030v_1.5_20ga010m_-1.5.wav",
    "cv": "01to0301_0.47027_20ga0101_-0.47027.wav",
    "tt": "440c0401_2.3824_050a0501_-2.3824.wav",
}


def talk(seconds: float, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    level = np.repeat(draw.random(round(20 * seconds)), RATE // 20)
    return 0.2 * level * draw.standard_normal(len(level))


def write(path: Path, samples: np.ndarray, subtype: str = "PCM_16") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE, subtype=subtype)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A folder with all that WSJ0-2mix, WHAMR! and LibriMix are made from."""
    folder = tmp_path / "raw"
    for seed, (split, (one, level, two, other)) in enumerate(UTTERANCES.items()):
        write(folder / one, talk(0.6, 2 * seed))
        write(folder / two, talk(0.45, 2 * seed + 1))
        lists, tables, metadata = folder / "lists", folder / "tables", folder / "wham_noise/metadata"
        for place in (lists, tables, metadata):
            place.mkdir(parents=True, exist_ok=True)
        (lists / f"mix_2_spk_{split}.txt").write_text(f"{one} {level:g} {two} {other:g}\n")
        name = NAMES[split]
        (tables / f"mix_2_spk_filenames_{split}.csv").write_text(
            f"output_filename,s1_path,s2_path\n{name},{one},{two}\n"
        )
        (tables / f"reverb_params_{split}.csv").write_text(
            "utterance_id,room_x,room_y,room_z,micL_x,micL_y,micR_x,micR_y,mic_z,"
            "s1_x,s1_y,s1_z,s2_x,s2_y,s2_z,T60\n"
            f"{name},5.1,4.2,3.0,2.5,2.1,2.65,2.1,1.4,1.4,1.7,1.6,3.8,2.9,1.5,0.25\n"
        )
        write(folder / f"wham_noise/{split}/{name}", 0.05 * np.stack([talk(1.2, 50), talk(1.2, 51)], axis=1))
        gains = {
            f"scaling_{part}_{rate}_{length}": np.array([[0.9, 0.6]] if part == "wsjmix" else [value], dtype=object)
            for rate in ("8k", "16k")
            for length in ("min", "max")
            for part, value in (("wsjmix", None), ("wham_speech", 0.8), ("wham_noise", 1.1))
        }
        np.savez(
            metadata / f"scaling_{split}.npz",
            utterance_id=np.array([name], dtype=object),
            speech_start_sample_16k=np.array([1601], dtype=object),
            **gains,
        )
    for number, subset in enumerate(("train-clean-100", "dev-clean", "test-clean")):
        one, two = f"{number}1-2-0000", f"{number}4-5-0000"
        for place, seconds in ((one, 0.6), (two, 0.45)):
            speaker, chapter, _ = place.split("-")
            write(folder / f"LibriSpeech/{subset}/{speaker}/{chapter}/{place}.flac", talk(seconds, number))
        table = folder / f"metadata/libri2mix_{subset}.csv"
        table.parent.mkdir(exist_ok=True)
        paths = [f"{subset}/{name.replace('-', '/', 1).split('-')[0]}/{name}.flac" for name in (one, two)]
        noise = f"{('tr', 'cv', 'tt')[number]}/{NAMES[('tr', 'cv', 'tt')[number]]}"
        table.write_text(
            "mixture_ID,source_1_path,source_1_gain,source_2_path,source_2_gain,noise_path,noise_gain\n"
            f"{one}_{two},{paths[0]},0.7,{paths[1]},1.2,{noise},0.5\n"
        )
    return folder
