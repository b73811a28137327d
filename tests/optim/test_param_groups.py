"""Which parameters decay, on real modules."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import rectified
from rectified.optim import param_groups_weight_decay


class Tied(nn.Module):
    def __init__(self, tie):
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.norm = nn.LayerNorm((2, 4))
        self.scale = nn.Parameter(torch.ones(()))
        self.convolution = nn.Conv1d(4, 4, 3)
        self.out = nn.Linear(4, 7)
        self.frozen = nn.Linear(2, 2)
        self.frozen.requires_grad_(False)
        if tie:
            self.out.weight = self.table.weight


class ViT(nn.Module):
    """The parameters of a vision transformer, each of several dimensions."""

    def __init__(self):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.reg_tokens = nn.Parameter(torch.zeros(1, 4, 8))
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, 8))
        self.patch_embed = nn.Conv2d(3, 8, 4, 4)
        self.block = nn.TransformerEncoderLayer(8, 2, 16)
        self.layer_scale = nn.Parameter(torch.ones(8, 1, 1))
        self.head = nn.Linear(8, 3)


VIT_DECAYS = [
    "patch_embed.weight",
    "block.self_attn.in_proj_weight",
    "block.self_attn.out_proj.weight",
    "block.linear1.weight",
    "block.linear2.weight",
    "head.weight",
]


class GPT(nn.Module):
    def __init__(self, tie):
        super().__init__()
        self.wte = nn.Embedding(11, 8)
        self.wpe = nn.Embedding(5, 8)
        self.h = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
        self.ln_f = nn.LayerNorm(8)
        self.lm_head = nn.Linear(8, 11, bias=False)
        if tie:
            self.lm_head.weight = self.wte.weight


class Holder(nn.Module):
    """A module with parameters of the given names and shapes."""

    def __init__(self, **shapes):
        super().__init__()
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.zeros(shape)))


class ListsNames(nn.Module):
    """A module as timm's are: it names parameters that must not decay, absent ones among them."""

    def __init__(self, *listed):
        super().__init__()
        self.memory = nn.Parameter(torch.zeros(3, 8))
        self.inner = nn.Linear(8, 8)
        self.listed = listed

    def no_weight_decay(self):
        return {"dist_token", *self.listed}


class Wrapped(nn.Module):
    """A module under `module.`, as DistributedDataParallel has it."""

    def __init__(self, module):
        super().__init__()
        self.module = module


def names(groups):
    return [[name for name, _ in group["params"]] for group in groups]


def decaying(model, **options):
    return [n for g in param_groups_weight_decay(model, 0.1, **options) if g["weight_decay"] for n, _ in g["params"]]


def test_weights_that_map_decay_and_nothing_else():
    decayed, spared = param_groups_weight_decay(Tied(tie=False), 0.1, lr=0.5)
    assert names([decayed, spared]) == [
        ["convolution.weight", "out.weight"],
        ["scale", "table.weight", "norm.weight", "norm.bias", "convolution.bias", "out.bias"],
    ]
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert decayed["lr"] == spared["lr"] == 0.5


def test_embeddings_decay_on_request_and_where_they_are_an_output_layer():
    assert "table.weight" in decaying(Tied(tie=False), decay_embeddings=True)
    tied = names(param_groups_weight_decay(Tied(tie=True), 0.1))
    assert "table.weight" in tied[0]
    assert sum(map(len, tied)) == 7  # once each


def test_an_empty_group_is_left_out_and_the_rest_is_an_optimizers():
    assert names(param_groups_weight_decay(nn.Linear(3, 2, bias=False), 0.1)) == [["weight"]]
    assert names(param_groups_weight_decay(nn.LayerNorm(3), 0.1)) == [["weight", "bias"]]
    optimizer = rectified.AdamW(param_groups_weight_decay(Tied(tie=False), 0.3))
    assert optimizer.param_groups[1]["param_names"][0] == "scale"
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]


def test_the_biases_of_attention_do_not_decay_though_two_have_three_dimensions():
    attention = nn.MultiheadAttention(4, 2, add_bias_kv=True)
    assert attention.bias_k.ndim == attention.bias_v.ndim == 3
    assert decaying(attention) == ["in_proj_weight", "out_proj.weight"]
    apart = nn.MultiheadAttention(4, 2, add_bias_kv=True, kdim=3)
    assert decaying(apart) == ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"]


def test_recurrent_transformer_and_convolutional_weights_decay_without_their_biases():
    lstm = nn.LSTM(3, 4, num_layers=2, bidirectional=True, proj_size=2)
    assert decaying(lstm) == [name for name, _ in lstm.named_parameters() if name.startswith("weight")]
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2, enable_nested_tensor=False)
    assert [name.removeprefix("layers.0.") for name in decaying(encoder)][:4] == [
        "self_attn.in_proj_weight",
        "self_attn.out_proj.weight",
        "linear1.weight",
        "linear2.weight",
    ]
    assert len(decaying(encoder)) == 8
    for layer in (nn.Conv1d(2, 2, 3), nn.Conv2d(2, 2, 1), nn.ConvTranspose3d(2, 2, 3), nn.Bilinear(2, 3, 4)):
        assert decaying(layer) == ["weight"]


class ChannelNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, 8, 1, 1))


class ConvNextV2GRN(Holder):
    pass


class Normalized(nn.LayerNorm):
    pass


class NormedLinear(nn.Linear):
    pass


def test_norms_do_not_decay_whatever_their_shape():
    norms = [
        nn.BatchNorm2d(4),
        nn.GroupNorm(2, 4),
        nn.RMSNorm((2, 4)),
        nn.LayerNorm((2, 4)),
        nn.InstanceNorm1d(4, affine=True),
    ]
    for norm in (*norms, ChannelNorm(), ConvNextV2GRN(weight=(1, 1, 1, 4)), Normalized((2, 4)), nn.SyncBatchNorm(4)):
        assert decaying(norm) == []
    assert decaying(NormedLinear(4, 3)) == ["weight"]


@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize("layer", [nn.Conv1d(3, 4, 2), nn.Linear(3, 1), nn.Linear(1, 3), nn.Linear(3, 4)])
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_of_weight_norm_the_direction_decays_and_the_magnitude_does_not(layer, dim):
    assert decaying(parametrizations.weight_norm(copy.deepcopy(layer), dim=dim)) == [
        "parametrizations.weight.original1"
    ]
    assert decaying(nn.utils.weight_norm(copy.deepcopy(layer), dim=dim)) == ["weight_v"]


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_weight_norm_by_another_name_and_names_that_only_resemble_it():
    lstm = nn.utils.weight_norm(nn.LSTM(3, 4), "weight_hh_l0")
    assert decaying(lstm) == ["weight_ih_l0", "weight_hh_l0_v"]
    assert decaying(Holder(proj_g=(4, 3), proj_v=(4, 3), gate_g=(4, 1))) == ["proj_g", "proj_v", "gate_g"]


def test_a_parametrized_or_pruned_parameter_follows_the_module_that_it_belongs_to():
    assert decaying(nn.Sequential(parametrizations.spectral_norm(nn.Linear(3, 4)))) == [
        "0.parametrizations.weight.original"
    ]
    assert decaying(parametrizations.spectral_norm(nn.Embedding(3, 4))) == []
    assert decaying(parametrizations.weight_norm(nn.Embedding(3, 4))) == []
    assert decaying(prune.random_unstructured(nn.Embedding(3, 4), "weight", 0.5)) == []
    attention = prune.random_unstructured(nn.MultiheadAttention(4, 2, add_bias_kv=True), "bias_k", 0.5)
    assert decaying(attention) == ["in_proj_weight", "out_proj.weight"]


def test_tokens_positions_and_layer_scales_do_not_decay():
    assert decaying(ViT()) == VIT_DECAYS


def test_tables_decay_on_request_and_tokens_never():
    assert decaying(ViT(), decay_embeddings=True) == ["pos_embed", *VIT_DECAYS]


@pytest.mark.parametrize(
    "name",
    [
        *("cls_token", "class_token", "dist_token", "mask_token", "reg_token", "register_tokens", "query_tokens"),
        *("class_embedding", "pos_embed", "pos_embedding", "positional_embedding", "position_embeddings", "pos_emb"),
        *("absolute_pos_embed", "decoder_pos_embed", "pos_embed_win", "temporal_embedding", "rel_pos_h", "wpe", "wte"),
        *("relative_position_bias_table", "pos_bias_u", "r_w_bias", "gate_up_proj_bias", "gamma", "gamma_1", "beta"),
        *("layer_scale", "layer_scale_1", "logit_scale", "pos_encoding"),
    ],
)
def test_names_of_embeddings_biases_and_scales(name):
    assert decaying(nn.ModuleDict({"encoder": Holder(**{name: (2, 3)})})) == []


@pytest.mark.parametrize("name", ["weight", "token_proj", "embed_proj", "proj", "unbiased", "w", "positive", "upscale"])
def test_names_that_only_resemble_them_decay(name):
    assert decaying(Holder(**{name: (2, 3)})) == [name]


def test_lists_and_dicts_of_parameters_are_described_by_their_name_too():
    model = nn.Module()
    model.pos_embeds = nn.ParameterList([torch.zeros(2, 3), torch.zeros(2, 3)])
    model.maps = nn.ParameterList([torch.zeros(2, 3)])
    model.named = nn.ParameterDict({"cls_token": torch.zeros(1, 3), "map": torch.zeros(2, 3)})
    assert decaying(model) == ["maps.0", "named.map"]


def test_a_gpts_embeddings_decay_only_where_the_output_layer_uses_them():
    layers = ["h.0.weight", "h.1.weight"]
    assert decaying(GPT(tie=False)) == [*layers, "lm_head.weight"]
    assert decaying(GPT(tie=True)) == ["wte.weight", *layers]
    assert decaying(GPT(tie=True), skip=["lm_head.weight"]) == layers  # by either name
    assert decaying(GPT(tie=True), skip=["wte.*"]) == layers


def test_a_models_own_list_is_kept_also_in_submodules():
    assert decaying(ListsNames()) == ["memory", "inner.weight"]
    assert decaying(ListsNames("memory")) == ["inner.weight"]
    assert decaying(nn.Sequential(ListsNames("memory"), ListsNames("inner"))) == ["0.inner.weight", "1.memory"]
    assert decaying(ListsNames("mem*"), decay_embeddings=True) == ["inner.weight"]
    attribute = nn.Linear(2, 2)
    attribute.no_weight_decay = True  # others' attribute of that name
    assert decaying(attribute) == ["weight"]


def compiled(module):
    return torch.compile(module, backend="eager")  # inductor's import warns


WRAPPERS = {
    "module": (Wrapped, "module."),
    "DataParallel": (nn.DataParallel, "module."),
    "compile": (compiled, "_orig_mod."),
    "module, compile": (lambda model: Wrapped(compiled(model)), "module._orig_mod."),
    "compile, module": (lambda model: compiled(Wrapped(model)), "_orig_mod.module."),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_change_names_and_nothing_else(wrapper):
    wrap, prefix = WRAPPERS[wrapper]
    assert decaying(wrap(ViT())) == [prefix + name for name in VIT_DECAYS]
    assert decaying(wrap(ViT()), skip=["head.weight"]) == [prefix + name for name in VIT_DECAYS[:-1]]
    assert decaying(wrap(ViT()), skip=[f"{prefix}head.weight"]) == [prefix + name for name in VIT_DECAYS[:-1]]
    assert decaying(wrap(ListsNames("memory"))) == [f"{prefix}inner.weight"]


def test_names_are_found_in_a_model_whose_blocks_are_compiled_or_checkpointed():
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    for wrap in (compiled, checkpoint_wrapper):
        model = ListsNames("inner.weight")
        model.inner = wrap(model.inner)
        assert decaying(model) == ["memory"]


def test_skip_takes_names_globs_and_modules():
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Conv1d(2, 2, 1)))
    assert decaying(model, skip=["0.weight"]) == ["1.0.weight", "1.1.weight"]
    assert decaying(model, skip=["*.0.weight"]) == ["0.weight", "1.1.weight"]
    assert decaying(model, skip=["1"]) == decaying(model, skip="1.*") == ["0.weight"]
    assert decaying(Tied(tie=False), skip=("frozen.weight",)) == ["convolution.weight", "out.weight"]
    assert decaying(Tied(tie=False), skip=(name for name in ["out"])) == ["convolution.weight"]


def test_a_skip_that_matches_nothing_is_refused_with_near_names():
    with pytest.raises(ValueError, match=r"'cls_tokn', which matches no parameter of ViT; did you mean 'cls_token'\?"):
        param_groups_weight_decay(ViT(), 0.1, skip=["head.weight", "cls_tokn"])
    with pytest.raises(ValueError, match=r"did you mean 'block.self_attn.in_proj_weight'"):
        param_groups_weight_decay(ViT(), 0.1, skip=["in_proj_weights"])
    with pytest.raises(ValueError, match=r"'zzz\*', which matches no .* lists the names"):
        param_groups_weight_decay(ViT(), 0.1, skip=["zzz*"])


@pytest.mark.parametrize("weight_decay", [-0.1, float("nan")])
def test_a_negative_decay_is_refused(weight_decay):
    with pytest.raises(ValueError, match=r"Invalid weight_decay value: .*; it must be 0 or more"):
        param_groups_weight_decay(nn.Linear(2, 2), weight_decay)


def test_a_lazy_module_is_refused_until_it_has_shapes():
    model = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(ValueError, match=r"0.weight of Sequential has no shape yet: run the model on one batch"):
        param_groups_weight_decay(model, 0.1)
    model(torch.zeros(1, 2))
    assert decaying(model) == ["0.weight"]


def test_options_cannot_replace_the_parameters():
    with pytest.raises(TypeError, match="params"):
        param_groups_weight_decay(nn.Linear(2, 2), 0.1, params=[])


def test_no_decay_at_all_keeps_two_groups():
    groups = param_groups_weight_decay(nn.Linear(2, 2), 0)
    assert names(groups) == [["weight"], ["bias"]]
    assert [group["weight_decay"] for group in groups] == [0, 0.0]
