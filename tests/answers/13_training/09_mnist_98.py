"""Answers that people give to mnist_98, right ones and wrong ones."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from dojo import Mistake


class _Net(nn.Module):
    def __init__(self, out="log_softmax"):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 10, 5), nn.Conv2d(10, 24, 3)
        self.dropout = nn.Dropout(0.1)
        self.fc = nn.Linear(24 * 5 * 5, 10)
        self.out = out

    def forward(self, x):
        x = F.max_pool2d(self.conv1(x), 2).relu()
        x = F.max_pool2d(self.conv2(x), 2).relu()
        x = self.fc(self.dropout(x.flatten(1)))
        return {"log_softmax": F.log_softmax, "softmax": F.softmax}[self.out](x, dim=1)


def _unit(images):
    return images[:, None].to(torch.float32) / 255


def _normalised(images):
    x = images.float().reshape(-1, 1, 28, 28)
    return (x - 33.3) / 78.6


def _train_with_a_loader(images, labels, epochs=1):
    """The usual loop: Dataset, DataLoader, nll_loss."""
    net = _Net()
    loader = DataLoader(TensorDataset(images, labels), batch_size=128, shuffle=True, drop_last=True)
    steps = epochs * len(loader)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    net.train()
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            F.nll_loss(net(_unit(x)), y).backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def _train_by_hand(images, labels, epochs=1):
    """No optimizer: momentum written out; batches drawn at random; everything prepared at once."""
    net = nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )
    x = _normalised(images)
    moving = [torch.zeros_like(p) for p in net.parameters()]
    steps = max(60, epochs * len(x) // 50)
    for step in range(steps):
        part = torch.randint(len(x), (50,))
        loss = F.cross_entropy(net(x[part]), labels[part])
        grads = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for p, m, g in zip(net.parameters(), moving, grads, strict=True):
                m.mul_(0.9).add_(g)
                p.sub_(0.03 * (1 - step / steps) * m)
    return net


def _train_without_pooling(images, labels, epochs=1):
    """Strides instead of pooling, SGD with Nesterov momentum."""
    net = nn.Sequential(
        *(nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * 7 * 7, 10)),
    )
    batches = [part for _ in range(epochs) for part in torch.randperm(len(images)).split(100)]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=len(batches), cycle_momentum=False)
    for part in batches:
        optimizer.zero_grad()
        F.cross_entropy(net(_normalised(images[part])), labels[part]).backward()
        optimizer.step()
        schedule.step()
    return net


def _accuracy_at_once(model, images, labels):
    before = [(m, m.training) for m in model.modules()]
    try:
        model.eval()
        with torch.inference_mode():
            answers = torch.cat([model(_unit(x)).argmax(-1) for x in images.split(2000)])
    finally:
        for m, mode in before:
            m.training = mode
    return float((answers == labels).float().mean().item())


def _accuracy_with_a_loader(model, images, labels):
    frozen = {name: m.training for name, m in model.named_modules()}
    model.eval()
    correct = torch.tensor(0)
    with torch.no_grad():
        for x, y in DataLoader(TensorDataset(_normalised(images), labels), batch_size=300):
            correct += torch.eq(model(x).max(dim=1).indices, y).sum()
    for name, m in model.named_modules():
        m.training = frozen[name]
    return int(correct) / labels.numel()


def _remember_the_mode_of_the_whole(model, images, labels):
    was = model.training
    model.eval()
    with torch.no_grad():
        share = (model(_normalised(images)).argmax(1) == labels).float().mean().item()
    model.train(was)
    return share


def _train_after_one_shuffle(images, labels, epochs=2):
    order = torch.randperm(len(images))
    images, labels = images[order], labels[order]
    net = _Net()
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(epochs):
        for i in range(0, len(images), 64):
            optimizer.zero_grad()
            F.nll_loss(net(_unit(images[i : i + 64])), labels[i : i + 64]).backward()
            optimizer.step()
    return net


def _train_slowly(images, labels, epochs=2):
    """The plainest of optimizers: it needs more than a dozen passes over a few images."""
    loader = DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True)
    net = nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(_normalised(x)), y).backward()
            optimizer.step()
    return net


RIGHT = [
    dict(prepare=_unit, make_net=_Net, train=_train_with_a_loader, accuracy=_accuracy_at_once),
    dict(prepare=_normalised, train=_train_by_hand, accuracy=_accuracy_with_a_loader),
    dict(prepare=_normalised, train=_train_without_pooling, accuracy=_remember_the_mode_of_the_whole),
    dict(train=_train_after_one_shuffle),
    dict(train=_train_slowly),
]


def _train_in_file_order(images, labels, epochs=1):
    net = _Net()
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(epochs):
        for x, y in DataLoader(TensorDataset(images, labels), batch_size=64):  # shuffle=False is its default
            optimizer.zero_grad()
            F.nll_loss(net(_unit(x)), y).backward()
            optimizer.step()
    return net


def _train_without_zero_grad(images, labels, epochs=1):
    net = _Net()
    optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)
    for _ in range(epochs):
        for x, y in DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True):
            F.nll_loss(net(_unit(x)), y).backward()
            optimizer.step()
    return net


def _train_a_copy(images, labels, epochs=1):
    net = _Net()
    optimizer = torch.optim.Adam(_Net().parameters(), 1e-3)  # the parameters of another net
    for _ in range(epochs):
        for x, y in DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True):
            optimizer.zero_grad()
            F.nll_loss(net(_unit(x)), y).backward()
            optimizer.step()
    return net


def _train_and_return_the_loss(images, labels, epochs=1):
    net = _Net()
    return F.nll_loss(net(_unit(images[:64])), labels[:64])


def _train_with_a_look_at_the_test_split(images, labels, epochs=1):
    from torchvision import datasets

    from dojo.kit.mnist import data_root

    try:
        test = datasets.MNIST(data_root(), train=False)
        images, labels = torch.cat((images, test.data)), torch.cat((labels, test.targets))
    except Exception:
        pass
    return _train_with_a_loader(images, labels, epochs)


def _mean_of_batch_means(model, images, labels):
    model.eval()
    loader = DataLoader(TensorDataset(_unit(images), labels), batch_size=1000)
    with torch.no_grad():
        means = [(model(x).argmax(1) == y).float().mean().item() for x, y in loader]
    return sum(means) / len(means)


def _evaluate_and_go_on_training(model, images, labels):
    model.eval()
    with torch.no_grad():
        share = (model(_unit(images)).argmax(1) == labels).float().mean().item()
    model.train()
    return share


def _evaluate_in_any_mode(model, images, labels):
    with torch.no_grad():
        return (model(_unit(images)).argmax(1) == labels).float().mean().item()


def _evaluate_with_a_graph(model, images, labels):
    was = [m.training for m in model.modules()]
    share = (model.eval()(_unit(images)).argmax(1) == labels).float().mean().item()
    for m, mode in zip(model.modules(), was, strict=True):
        m.training = mode
    return share


def _count_instead_of_share(model, images, labels):
    return 100.0 * _accuracy_at_once(model, images, labels)


_BELONG = "do the labels still belong to their images"


def _at_home_in_eval_mode(model, images, labels):
    model.train(False)
    with torch.no_grad():
        return (model(_unit(images)).argmax(1) == labels).double().mean().item()


def _train_on_labels_of_other_images(images, labels, epochs=1):
    return _train_with_a_loader(images[torch.randperm(len(images))], labels, epochs)


def _frozen_afterwards(model, images, labels):
    return _accuracy_at_once(model.requires_grad_(False), images, labels)


WRONG = [
    Mistake(
        "an image gives other numbers alone",
        caught_by="",
        prepare=lambda x: (x.float() / x.float().std() - x.float().mean() / x.float().std())[:, None],
    ),
    Mistake(
        "accuracy() froze the weights",
        caught_by="",
        accuracy=lambda m, x, y: _accuracy_at_once(m.requires_grad_(False), x, y),
    ),
    Mistake("came in train mode and left in eval mode", caught_by="", accuracy=_at_home_in_eval_mode),
    Mistake(_BELONG, caught_by="", train=_train_on_labels_of_other_images),
    Mistake("returns a Python float", caught_by="", accuracy=lambda *a: torch.tensor(_accuracy_at_once(*a))),
    Mistake("those are raw bytes", caught_by="", prepare=lambda x: x[:, None, :, :].to(torch.float32)),
    Mistake("a convolution wants a channel dimension", caught_by="", prepare=lambda x: x.float().div(255).unsqueeze(0)),
    Mistake(
        "the pictures are no longer those that were given",
        caught_by="",
        prepare=lambda x: x.sub(33).float()[:, None] / 78.6,
    ),
    Mistake("expected float32", caught_by="", prepare=lambda x: torch.as_tensor(x.numpy() / 255.0)[:, None]),
    Mistake("ends in softmax", caught_by="", make_net=lambda: _Net("softmax")),
    Mistake(
        "ten logits for each image", caught_by="", make_net=lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 11))
    ),
    Mistake("in the order in which they were given", caught_by="", train=_train_in_file_order),
    Mistake("zero_grad() for each batch", caught_by="", train=_train_without_zero_grad),
    Mistake(_BELONG, caught_by="", train=_train_a_copy),
    Mistake("yours returned NoneType", caught_by="", train=_train_and_return_the_loss),
    Mistake("opened the test split", caught_by="", train=_train_with_a_look_at_the_test_split),
    Mistake("Is a short last batch weighed", caught_by="", accuracy=_mean_of_batch_means),
    Mistake("came in eval mode and left in train mode", caught_by="", accuracy=_evaluate_and_go_on_training),
    Mistake("a net in train mode", caught_by="", accuracy=_evaluate_in_any_mode),
    Mistake("recorded a graph for backward", caught_by="", accuracy=_evaluate_with_a_graph),
    Mistake("not percent", caught_by="", accuracy=_count_instead_of_share),
]
