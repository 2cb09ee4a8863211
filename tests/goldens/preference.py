"""Values and gradients of DPO, KTO and distillation by PyTorch's autograd in f64, to preference.json beside this file.

DPO is formula 7 of arXiv 2305.18290 (with the label smoothing of conservative DPO), KTO formulas 7 and 8 of arXiv 2402.01306 with the
batch's estimate of the reference point, distillation a teacher's top k at a temperature, renormalised, plus the target's
cross-entropy. Run: python tests/goldens/preference.py (torch 2.x)."""
import json
import pathlib

import torch
from torch.nn.functional import kl_div, log_softmax, logsigmoid, cross_entropy

torch.manual_seed(20261121)
torch.set_default_dtype(torch.float64)
out = {}

for name, beta, smoothing in (("dpo", 0.1, 0.0), ("cdpo", 0.5, 0.1)):
    policy = (torch.randn(5, 2) * 8 - 40).requires_grad_()
    reference = policy.detach() + torch.randn(5, 2) * 3
    ratio = policy - reference
    logits = ratio[:, 0] - ratio[:, 1]
    loss = -(1 - smoothing) * logsigmoid(beta * logits) - smoothing * logsigmoid(-beta * logits)
    loss.sum().backward()
    rewards = beta * ratio.detach()
    out[name] = dict(beta=beta, smoothing=smoothing, policy=policy.tolist(), reference=reference.tolist(), loss=loss.sum().item(),
                     grad=policy.grad.tolist(), rewards=rewards.sum(0).tolist(), right=int((rewards[:, 0] > rewards[:, 1]).sum()))

for name, shift in (("kto", 2.0), ("kto_behind", -4.0)):
    beta, desirable, undesirable = 0.2, 1.0, 1.3
    good = torch.tensor([True, False, True, True, False, False])
    policy = (torch.randn(6, 2) * 8 - 40).requires_grad_()
    reference = policy.detach() + torch.randn(6, 2) - shift
    ratio = policy - reference
    z = ratio[:, 1].mean().clamp(min=0).detach()
    loss = torch.where(good, desirable * (1 - torch.sigmoid(beta * (ratio[:, 0] - z))),
                       undesirable * (1 - torch.sigmoid(beta * (z - ratio[:, 0]))))
    loss.sum().backward()
    rewards = beta * ratio.detach()[:, 0]
    out[name] = dict(beta=beta, desirable=desirable, undesirable=undesirable, good=good.tolist(), policy=policy.tolist(),
                     reference=reference.tolist(), loss=loss.sum().item(), grad=policy.grad.tolist(),
                     rewards=[rewards[good].sum().item(), rewards[~good].sum().item()])

for name, temperature, share in (("distill", 1.0, 1.0), ("distill_warm", 2.0, 0.7), ("distill_off", 3.0, 0.0)):
    rows, classes, k = 4, 37, 5
    logits = (torch.randn(rows, classes) * 3).requires_grad_()
    teacher = torch.randn(rows, classes) * 3
    top, ids = teacher.topk(k)
    targets = torch.randint(classes, (rows,))
    targets[2] = -100
    counted = targets != -100
    p = torch.softmax(top / temperature, -1)
    q = log_softmax(logits / temperature, -1).gather(1, ids)
    soft = (p * (p.log() - q)).sum(-1)[counted].sum() * temperature ** 2
    hard = cross_entropy(logits, targets, ignore_index=-100, reduction="sum")
    loss = (share * soft + (1 - share) * hard) / counted.sum()
    loss.backward()
    out[name] = dict(temperature=temperature, share=share, logits=logits.tolist(), ids=ids.tolist(), top=top.tolist(),
                     targets=targets.tolist(), loss=loss.item(), grad=logits.grad.tolist())

path = pathlib.Path(__file__).with_name("preference.json")
path.write_text(json.dumps(out) + "\n")
print(path, path.stat().st_size)
