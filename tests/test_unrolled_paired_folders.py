"""Where public sets of blurred and sharp pictures keep their files."""

import pytest

from unrolled.paired_folders import find_pairs

REALBLUR = "RealBlur-{}_ECC/scene00{}/{}/{}_{}.png"


def touched(root, *names):
    """Empty files: nothing is read to find pairs."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def gopro(root):
    for part, scene in (("train", "GOPR0372_07_00"), ("train", "GOPR0374"), ("test", "GOPR0384")):
        for kind in ("blur", "blur_gamma", "sharp"):
            touched(root, *(f"{part}/{scene}/{kind}/00000{i}.png" for i in (1, 2)))
            touched(root, f"{part}/{scene}/{kind}/._000001.png", f"{part}/{scene}/{kind}/Thumbs.db")


def hide(root):
    touched(root, "train/1fromGOPR0950.png", "train/2fromGOPR0950.png", "train.txt")
    touched(root, "test/test-close-ups/5fromGOPR1089.png", "test/test-long-shot/9fromGOPR1096.png")
    names = ("1fromGOPR0950", "2fromGOPR0950", "5fromGOPR1089", "9fromGOPR1096")
    touched(root, *(f"GT/{name}.png" for name in names))


def realblur(root):
    for kind in "JR":
        for part, scene in (("train", 1), ("test", 2)):
            lines = []
            for i in (1, 2):
                names = [REALBLUR.format(kind, scene, k, k, i) for k in ("gt", "blur")]
                touched(root, *names)
                lines.append(" ".join(names) + " \n")
            (root / f"RealBlur_{kind}_{part}_list.txt").write_text("".join(lines) + "\n")


def reds(root):
    for part in ("train", "val"):
        for kind in ("blur", "sharp", "blur_comp"):
            touched(root, *(f"{part}/{part}_{kind}/{s}/00000000.png" for s in ("000", "001")))


def koehler(root):
    touched(root, "BlurryImages/Blurry1_1.png", "BlurryImages/Blurry4_12.png")
    for name, last in (("1_1", 4), ("4_12", 11)):
        i, k = name.split("_")
        frames = (f"Image{i}/Kernel{k}/GroundTruth{name}_{n}.png" for n in range(1, last + 1))
        touched(root, *frames)


def plain(root):
    for part, names in (("train", ("a", "scene/b")), ("test", ("c",))):
        touched(root, *(f"{part}/input/{name}.jpg" for name in names))
        touched(root, *(f"{part}/Target/{name}.png" for name in names))


SETS = {
    "gopro": gopro,
    "hide": hide,
    "realblur-j": realblur,
    "reds": reds,
    "koehler": koehler,
    "plain": plain,
}
FOUND = {
    ("gopro", "train"): [
        (f"train/{scene}/blur/00000{i}.png", f"train/{scene}/sharp/00000{i}.png")
        for scene in ("GOPR0372_07_00", "GOPR0374")
        for i in (1, 2)
    ],
    ("gopro", "test"): [
        (f"test/GOPR0384/blur/00000{i}.png", f"test/GOPR0384/sharp/00000{i}.png") for i in (1, 2)
    ],
    ("hide", "train"): [(f"train/{i}fromGOPR0950.png", f"GT/{i}fromGOPR0950.png") for i in (1, 2)],
    ("hide", "test"): [
        ("test/test-close-ups/5fromGOPR1089.png", "GT/5fromGOPR1089.png"),
        ("test/test-long-shot/9fromGOPR1096.png", "GT/9fromGOPR1096.png"),
    ],
    ("realblur-j", "train"): [
        (REALBLUR.format("J", 1, "blur", "blur", i), REALBLUR.format("J", 1, "gt", "gt", i))
        for i in (1, 2)
    ],
    ("realblur-j", "test"): [
        (REALBLUR.format("J", 2, "blur", "blur", i), REALBLUR.format("J", 2, "gt", "gt", i))
        for i in (1, 2)
    ],
    ("reds", "train"): [
        (f"train/train_blur/{s}/00000000.png", f"train/train_sharp/{s}/00000000.png")
        for s in ("000", "001")
    ],
    ("reds", "test"): [
        (f"val/val_blur/{s}/00000000.png", f"val/val_sharp/{s}/00000000.png")
        for s in ("000", "001")
    ],
    ("koehler", "test"): [
        ("BlurryImages/Blurry1_1.png", "Image1/Kernel1/GroundTruth1_1_2.png"),
        ("BlurryImages/Blurry4_12.png", "Image4/Kernel12/GroundTruth4_12_6.png"),
    ],
    ("plain", "train"): [
        ("train/input/a.jpg", "train/Target/a.png"),
        ("train/input/scene/b.jpg", "train/Target/scene/b.png"),
    ],
    ("plain", "test"): [("test/input/c.jpg", "test/Target/c.png")],
}


@pytest.mark.parametrize(("layout", "split"), FOUND)
def test_each_set_is_recognised(tmp_path, layout, split):
    SETS[layout](tmp_path)
    expected = [(tmp_path / b, tmp_path / s) for b, s in FOUND[layout, split]]
    assert find_pairs(tmp_path, split=split) == expected
    assert find_pairs(str(tmp_path), layout, split) == expected


def test_sets_by_name(tmp_path):
    gopro(tmp_path / "gopro")
    blurred, sharp = find_pairs(tmp_path / "gopro", "gopro-gamma", "test")[0]
    assert blurred.parent.name == "blur_gamma"
    assert sharp.parent.name == "sharp"
    realblur(tmp_path / "realblur")
    pairs = find_pairs(tmp_path / "realblur", "realblur-r", "test")
    assert [p[0].name for p in pairs] == ["blur_1.png", "blur_2.png"]
    assert "RealBlur-R" in str(pairs[0][0])


def test_parts_of_sets(tmp_path):
    # Blur as JPEG only, unpacked without the folder above.
    touched(tmp_path / "reds", "train_blur_jpeg/000/00000000.jpg", "train_sharp/000/00000000.png")
    assert len(find_pairs(tmp_path / "reds")) == 1
    # The sharp pictures of HIDE's other part are nobody's.
    hide(tmp_path / "hide")
    for path in (tmp_path / "hide" / "test").rglob("*.png"):
        path.unlink()
    (tmp_path / "hide" / "test" / "test-long-shot").rmdir()
    assert len(find_pairs(tmp_path / "hide")) == 2
    # Plain folders without parts serve both.
    touched(tmp_path / "own", "lq/a.png", "hq/a.png")
    assert find_pairs(tmp_path / "own") == find_pairs(tmp_path / "own", split="test")


def test_pictures_without_a_counterpart(tmp_path):
    names = [f"blurred/{i}.png" for i in range(9)]
    touched(tmp_path, *names, *(f"gt/{i}.png" for i in range(4)))
    message = r"blurred: 5 pictures \(4, 5, 6, \.\.\.\) have no sharp counterpart in .*gt; expected"
    with pytest.raises(ValueError, match=message):
        find_pairs(tmp_path)
    for i in range(4, 9):
        (tmp_path / f"blurred/{i}.png").unlink()
    touched(tmp_path, "gt/x.png")
    message = r"gt: 1 picture \(x\) has no blurred counterpart in .*blurred"
    with pytest.raises(ValueError, match=message):
        find_pairs(tmp_path)
    hide(tmp_path / "hide")
    touched(tmp_path / "hide", "GT/7.png")
    with pytest.raises(ValueError, match=r"GT: 1 picture \(7\) has no blurred counterpart"):
        find_pairs(tmp_path / "hide")
    gopro(tmp_path / "gopro")
    (tmp_path / "gopro/train/GOPR0374/sharp/000002.png").unlink()
    with pytest.raises(ValueError, match=r"GOPR0374.*\(000002\) has no sharp counterpart"):
        find_pairs(tmp_path / "gopro")


def test_same_names_twice(tmp_path):
    touched(tmp_path, "blur/a.png", "blur/a.jpg", "sharp/a.png")
    with pytest.raises(ValueError, match=r"a\.png and .*a\.jpg have the same name"):
        find_pairs(tmp_path)


def test_roots_that_are_no_set(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"root='.*none' does not exist; expected the fold"):
        find_pairs(tmp_path / "none")
    touched(tmp_path, "file", "photographs/a.png")
    with pytest.raises(FileNotFoundError, match=r"is a file, not a folder"):
        find_pairs(tmp_path / "file")
    message = r"no layout that is known. Looked for realblur-j: RealBlur_J.*gopro: train.*hide: GT"
    with pytest.raises(ValueError, match=message):
        find_pairs(tmp_path)
    with pytest.raises(ValueError, match=r"layout='gopr' is not known; did you mean 'gopro'"):
        find_pairs(tmp_path, "gopr")
    with pytest.raises(ValueError, match=r"split='val' is not known"):
        find_pairs(tmp_path, split="val")
    with pytest.raises(FileNotFoundError, match=r"train does not exist; expected the train part"):
        find_pairs(tmp_path, "gopro")
    with pytest.raises(FileNotFoundError, match=r"train_blur does not exist"):
        find_pairs(tmp_path, "reds")
    with pytest.raises(ValueError, match=r"0 folders with one of the names blurred, blur"):
        find_pairs(tmp_path, "plain")
    koehler(tmp_path / "koehler")
    with pytest.raises(ValueError, match=r"split='train'; expected 'test', the only part"):
        find_pairs(tmp_path / "koehler")


def test_lists_of_realblur(tmp_path):
    realblur(tmp_path)
    listed = tmp_path / "RealBlur_J_train_list.txt"
    (tmp_path / REALBLUR.format("J", 1, "gt", "gt", 2)).unlink()
    with pytest.raises(FileNotFoundError, match=r"train_list\.txt names 1 picture \(.*gt_2\.png\)"):
        find_pairs(tmp_path)
    listed.write_text("one.png two.png\nthree.png\n")
    with pytest.raises(ValueError, match=r"list\.txt, line 2: 'three\.png'; expected a sharp and"):
        find_pairs(tmp_path)
    listed.write_text("\n")
    with pytest.raises(ValueError, match=r"list\.txt is empty"):
        find_pairs(tmp_path)


def test_pictures_of_koehler_lack_the_truth(shared_data):
    folder = shared_data / "real" / "koehler"
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}")
    with pytest.raises(ValueError, match=r"4 pictures \(1_1, 1_4, 1_7, \.\.\.\) have no sharp"):
        find_pairs(folder, split="test")
