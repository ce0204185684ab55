# make train       set up .venv and train: on data/camvid if it is there, else on a few synthetic frames
# make test        set up .venv and run the tests
# make test-slow   the tests that take minutes
# make test-openmmlab   the tests of compatibility, on OpenMMLab's own mmcv, mmengine and mmsegmentation; compiles mmcv
#                  the first time
# make lint        what .ci/run lints
# Another Python: make PYTHON=python3.12 train
PYTHON ?= python3
BIN := .venv/bin
CONFIG := configs/erfnet_camvid.py

.PHONY: setup train train-camvid train-synthetic test test-slow test-openmmlab lint

setup: .venv/.ready

.venv/.ready: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one, as in: make PYTHON=python3.12 setup")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --requirement requirements.txt
	$(BIN)/pip install --no-deps --editable .
	touch $@

train: $(if $(wildcard data/camvid),train-camvid,train-synthetic)

# An interrupted run goes on where it stopped.
train-camvid: setup
	$(BIN)/python tools/train.py $(CONFIG) $(if $(wildcard work_dirs/erfnet_camvid/last_checkpoint),--resume)
	$(BIN)/python tools/test.py $(CONFIG) work_dirs/erfnet_camvid/best_mIoU_epoch_*.pth --show-dir work_dirs/erfnet_camvid/painted

QUICK := work_dirs/quickstart
SYNTHETIC := $(foreach part,train val test,$(part)_dataloader.dataset.data_root=data/synthetic_camvid)

# Of so few frames small batches, so that there are more steps: 144.
OFTEN := train_dataloader.batch_size=4 train_cfg.val_interval=4

train-synthetic: setup
	@echo 'There is no data/camvid, so this trains for a few minutes on synthetic street scenes, to show that everything works; for the real frames see "CamVid" in README.md.'
	test -d data/synthetic_camvid || $(BIN)/python tools/synthesize_camvid.py --out data/synthetic_camvid --images 80
	rm -rf $(QUICK)
	$(BIN)/python tools/train.py $(CONFIG) --epochs 12 --work-dir $(QUICK) --cfg-options $(SYNTHETIC) $(OFTEN)
	$(BIN)/python tools/test.py $(CONFIG) $(QUICK)/best_mIoU_epoch_*.pth --work-dir $(QUICK) --show-dir $(QUICK)/painted --cfg-options $(SYNTHETIC)

# Two processes of one thread each: twice as fast on two cores as one process of two. tests/deploy has a
# process to itself: beside the other tests it has ended without a word, for a reason not found yet.
test: setup
	$(BIN)/python -m pytest --numprocesses 2 --ignore tests/deploy
	$(BIN)/python -m pytest tests/deploy

test-slow: setup
	$(BIN)/python -m pytest -m slow

lint: setup
	$(BIN)/ruff check .

# mmcv 2.1.0 comes as source alone, and its set-up needs pkg_resources, hence setuptools < 81. The wheel is kept in the user's cache.
OPENMMLAB := .venv-openmmlab/bin
WHEELS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mmseg_erfnet/mmcv-2.1.0-torch-2.13.0

.venv-openmmlab/.ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv-openmmlab
	$(OPENMMLAB)/pip install torch==2.13.0 'setuptools<81' wheel ninja
	$(OPENMMLAB)/pip install --no-index --no-deps --find-links $(WHEELS) mmcv==2.1.0 || \
	{ $(OPENMMLAB)/pip wheel --no-build-isolation --no-deps --wheel-dir $(WHEELS) mmcv==2.1.0 && \
	  $(OPENMMLAB)/pip install --no-index --no-deps --find-links $(WHEELS) mmcv==2.1.0; }
	grep -v onedl requirements.txt > .venv-openmmlab/requirements.txt
	$(OPENMMLAB)/pip install --requirement .venv-openmmlab/requirements.txt mmcv==2.1.0 mmengine==0.10.7 mmsegmentation==1.2.2 ftfy regex
	$(OPENMMLAB)/pip install --no-deps --editable .
	touch $@

# Where the two families could differ: look-ups, configs, checkpoints, labels, and a run from its first epoch to its score.
COMPATIBILITY := $(addprefix tests/,models datasets/test_camvid.py datasets/test_cityscapes.py datasets/test_loading.py \
	test_registry.py test_configs.py test_doctor.py test_train_and_score.py test_checkpoints_refused.py test_resume.py \
	test_processes.py)

test-openmmlab: .venv-openmmlab/.ready
	$(OPENMMLAB)/python -m pytest --numprocesses 2 $(COMPATIBILITY)
