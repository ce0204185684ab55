# `make help` lists the targets. Another Python: make PYTHON=python3.12 train
PYTHON ?= python3
BIN := .venv/bin
CONFIG ?= configs/erfnet_camvid.py
NAME := $(basename $(notdir $(CONFIG)))
WORK_DIR ?= work_dirs/$(NAME)

.DEFAULT_GOAL := help
.PHONY: help setup train train-camvid train-synthetic test test-slow test-formats test-openmmlab lint

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: .venv/.ready ## make .venv with the pinned packages

.venv/.ready: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one, as in: make PYTHON=python3.12 setup")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --requirement requirements.txt
	$(BIN)/pip install --no-deps --editable .
	touch $@

train: $(if $(wildcard data/camvid),train-camvid,train-synthetic) ## train CONFIG=configs/NAME.py, or without data/camvid a few minutes on synthetic streets

# An interrupted run goes on where it stopped.
train-camvid: setup
	$(BIN)/python tools/train.py $(CONFIG) --work-dir $(WORK_DIR) $(if $(wildcard $(WORK_DIR)/last_checkpoint),--resume)
	$(BIN)/python tools/test.py $(CONFIG) $$(ls -t $(WORK_DIR)/best_*.pth $(WORK_DIR)/epoch_*.pth $(WORK_DIR)/iter_*.pth 2>/dev/null | head -1) --work-dir $(WORK_DIR) --show-dir $(WORK_DIR)/painted

QUICK := work_dirs/quickstart
SYNTHETIC := $(foreach part,train val test,$(part)_dataloader.dataset.data_root=data/synthetic_camvid)

# Of so few frames small batches, so that there are more steps: 144.
OFTEN := train_dataloader.batch_size=4 train_cfg.val_interval=4

train-synthetic: setup
	@echo 'There is no data/camvid, so this trains for a few minutes on synthetic street scenes, to show that everything works; for the real frames see "CamVid" in README.md.'
	test -d data/synthetic_camvid || $(BIN)/python tools/synthesize_camvid.py --out data/synthetic_camvid --images 80
	rm -rf $(QUICK)
	$(BIN)/python tools/train.py configs/erfnet_camvid.py --epochs 12 --work-dir $(QUICK) --cfg-options $(SYNTHETIC) $(OFTEN)
	$(BIN)/python tools/test.py configs/erfnet_camvid.py $(QUICK)/best_mIoU_epoch_*.pth --work-dir $(QUICK) --show-dir $(QUICK)/painted --cfg-options $(SYNTHETIC)

# Two processes of one thread each: twice as fast on two cores as one process of two.
test: setup ## run the tests
	$(BIN)/python -m pytest --numprocesses 2

test-slow: setup ## run the tests that take minutes
	$(BIN)/python -m pytest -m slow

test-formats: setup ## run the tests of ncnn and LiteRT, whose packages it installs
	$(BIN)/pip install --editable '.[ncnn,litert]'
	$(BIN)/python -m pytest -m formats

lint: setup ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

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

test-openmmlab: .venv-openmmlab/.ready ## run the compatibility tests on OpenMMLab's own packages; compiles mmcv the first time
	$(OPENMMLAB)/python -m pytest --numprocesses 2 $(COMPATIBILITY)
