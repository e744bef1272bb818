"""Which views a request uses, and under which names: what it asks for, looked up in the registry.

A request asks either by a feature service, whose projections choose features and may call a view by an alias, or by a
list of references. Both become `Ref`s, one for each feature that is asked for, and `ResolvedViews`: the views that
these features are read from or computed by. Views are looked up in Feast's order of checks, because that decides which
error wins (feast/utils.py _get_feature_views_to_use, Feast 0.67.0).

Pure. What becomes of them is not known here: `catalog` makes a plan of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from yummy_fast.errors import NotFoundError, RequestError
from yummy_fast.feast_format.registry import (
    FeatureService,
    FeatureView,
    Field,
    OnDemandFeatureView,
    Projection,
    Registry,
)
from yummy_fast.features.python_values import UserFunction
from yummy_fast.features.spelling import hint

MAX_VERSION_DIGITS = 300
"""A longer number is no version but a part of the view's name: int() takes a time that grows with the square of it."""


MAX_VERSIONS_NAMED = 5
"""Versions that an error lists, from the newest back."""


class Ref(NamedTuple):
    """One feature that is asked for."""

    view: str
    """The view that it is asked of: by its name or, in a service, by its alias."""
    version: int | None
    feature: str
    text: str
    """The reference as the caller writes it; for a service, as Feast does."""

    @property
    def view_name(self) -> str:
        """What the view is called in this request: see `ResolvedViews`."""
        return _versioned(self.view, self.version)


_VERSION = re.compile(r"[vV](\d+)")


def parse_ref(text: str, position: int) -> Ref:
    """ "view:feature" or "view@v2:feature" (feast/utils.py _parse_feature_ref). Raises RequestError."""
    view, colon, feature = text.partition(":")
    if not colon:
        raise RequestError(
            f"features[{position}]: Invalid feature reference '{text}'. "
            "Expected format: '<feature_view>:<feature>' or '<feature_view>@<version>:<feature>'"
        )
    name, at, tag = view.partition("@")
    if at:
        if not tag or tag.lower() == "latest":
            return Ref(name, None, feature, text)
        version = _VERSION.fullmatch(tag)
        if version and len(version[1]) <= MAX_VERSION_DIGITS:
            return Ref(name, int(version[1]), feature, text)
    return Ref(view, None, feature, text)


def refs_of(service: FeatureService) -> list[Ref]:
    """One for each feature of a service, in its order."""
    return [
        Ref(
            projection.alias or projection.view,
            projection.version,
            field.name,
            f"{_name_of(projection)}:{field.name}",
        )
        for projection in service.projections
        for field in projection.features
    ]


class ResolvedView(NamedTuple):
    """A feature view as a request uses it. The same view may be used under several aliases, with other keys for
    each."""

    name: str
    """What the request calls it: see `ResolvedViews`."""
    metadata: tuple[str, int]
    """What `feature_view_metadata` says of it: a name, and the version if Feast says it, else 0."""
    store_name: str
    """What the online store calls it."""
    view: FeatureView
    features: Mapping[str, Field]
    """Those that can be asked for."""
    join_key_map: Mapping[str, str]
    """Join key -> the name that requests give it."""


class ResolvedOnDemandView(NamedTuple):
    """An on-demand view as a request uses it."""

    view: OnDemandFeatureView
    function: UserFunction
    features: Mapping[str, Field]
    """Those that can be asked for."""
    sources: tuple[ResolvedView, ...]
    """What the function sees. All features of these are read."""


class ResolvedViews:
    """The views that a request uses, by what it calls them: an alias or a name, with @vN for a pinned version."""

    def __init__(self) -> None:
        self.stored: dict[str, ResolvedView] = {}
        self.on_demand: dict[str, ResolvedOnDemandView] = {}
        self.typing: list[ResolvedView] = []
        """What stored on-demand views were computed from. These are not read, but they type join keys."""

    def add(self, view: ResolvedView) -> None:
        """Use a view. If it is used already, what can be asked for is the features of both uses.

        That is so if a service has two projections of it, or if it is a source of an on-demand view as well.
        """
        before = self.stored.get(view.name)
        if before is not None:
            view = before._replace(features={**before.features, **view.features})
        self.stored[view.name] = view


class Views:
    """The views of one version of the registry, as requests may use them."""

    def __init__(
        self,
        registry: Registry,
        functions: Mapping[tuple[str, int | None], UserFunction | RequestError],
        *,
        versioning: bool,
        serve_materializing: bool = False,
        strict: bool = False,
    ) -> None:
        """
        - `functions`: those of the on-demand views by name and version, or why there is none.
        - `versioning`: registry.enable_online_feature_view_versioning.
        - `serve_materializing`: registry.serve_features_while_materializing.
        - `strict`: whether a projection that pins no version is of the current one.
        """
        self._registry = registry
        self._strict = strict
        self._functions = functions
        self._versioning = versioning
        self._servable = {"STATE_UNSPECIFIED", "AVAILABLE_ONLINE"}
        if serve_materializing:
            self._servable.add("MATERIALIZING")

    def of_service(self, service: FeatureService) -> ResolvedViews:
        """What a service uses. Raises RequestError."""
        views = ResolvedViews()
        for projection in service.projections:
            self._resolve(views, projection.view, projection.version, projection)
        return views

    def of_refs(self, refs: Iterable[Ref]) -> ResolvedViews:
        """What a list of references uses. Raises RequestError."""
        views = ResolvedViews()
        for name, version in dict.fromkeys((ref.view, ref.version) for ref in refs):
            self._resolve(views, name, version, None)
        return views

    def _resolve(self, views: ResolvedViews, name: str, version: int | None, projection: Projection | None) -> None:
        """Add a view to `views`, and the sources of an on-demand view. `projection` is a service's."""
        view = self._find(name, version)
        if not isinstance(view, OnDemandFeatureView):
            views.add(self._resolve_stored(view, version, projection))
            views.typing += map(self._resolve_source, view.sources)
            return
        function = self._functions[view.name, version]
        if isinstance(function, RequestError):
            raise function.fresh_copy()
        features = {field.name: field for field in view.features}
        if projection is not None:
            features = _project(view.name, features, projection)
        sources = tuple(map(self._resolve_source, view.sources))
        for source in sources:
            views.add(source)
        called = _name_of(projection) if projection is not None else _versioned(view.name, version)
        views.on_demand[called] = ResolvedOnDemandView(view, function, features, sources)

    def _resolve_source(self, source: Projection) -> ResolvedView:
        view = self._registry.views.get(source.view)
        if not isinstance(view, FeatureView):
            raise self._no_view(source.view)
        return self._resolve_stored(view, source.version, source)

    def _find(self, name: str, version: int | None) -> FeatureView | OnDemandFeatureView:
        """Look a view up as Feast does: existence first, then whether it is disabled, then its state."""
        project = self._registry.project
        view: FeatureView | OnDemandFeatureView | None
        if version is not None:
            if not self._versioning:
                raise RequestError(
                    f"Version-qualified ref '{name}@v{version}' not supported: online versioning is disabled. Set "
                    "'enable_online_feature_view_versioning: true' under 'registry' in feature_store.yaml."
                )
            view = self._registry.versions.get((name, version))
            if view is None:
                raise NotFoundError(
                    "FeatureViewVersionNotFound",
                    f"Version v{version} of feature view {name} does not exist in project {project}"
                    f"{self._versions_of(name)}",
                )
        else:
            view = self._registry.views.get(name)
            if view is None:
                raise self._no_view(name)
        if view.disabled:
            raise RequestError(
                f"Feature view '{name}' is disabled and cannot serve features. "
                f"Enable it with `feast feature-views enable {name}` or set enabled=True."
            )
        if view.state not in self._servable:
            raise RequestError(
                f"Feature view '{name}' is in state '{view.state}' and cannot serve features. "
                "Only AVAILABLE_ONLINE feature views can serve."
            )
        return view

    def _versions_of(self, name: str) -> str:
        """The end of a message about a version that does not exist."""
        numbers = sorted(number for view, number in self._registry.versions if view == name)
        if not numbers:
            return hint(name, self._registry.views)
        some = ", ".join(f"v{number}" for number in numbers[-MAX_VERSIONS_NAMED:])
        return f"; it has {some}"

    def _no_view(self, name: str) -> NotFoundError:
        return NotFoundError(
            "FeatureViewNotFoundException",
            f"Feature view {name} does not exist in project {self._registry.project}{hint(name, self._registry.views)}",
        )

    def _resolve_stored(self, view: FeatureView, version: int | None, projection: Projection | None) -> ResolvedView:
        features = {field.name: field for field in view.features}
        if projection is None:
            return ResolvedView(
                name=_versioned(view.name, version),
                metadata=(view.name, view.version),
                store_name=self._store_name(view, view.version if version is None else version),
                view=view,
                features=features,
                join_key_map={},
            )
        # A projection that pins no version reads the unversioned rows in Feast, whose copy of the view has lost the
        # version (FeatureView.__copy__), and of any projection Feast says that its version is 0.
        current = view.version if self._strict else 0
        read = current if version is None else version
        return ResolvedView(
            name=_name_of(projection),
            metadata=(projection.alias or view.name, read if self._strict else 0),
            store_name=self._store_name(view, read),
            view=view,
            features=_project(view.name, features, projection),
            join_key_map=projection.join_key_map,
        )

    def _store_name(self, view: FeatureView, version: int) -> str:
        return stored_name(view.name, version if self._versioning else 0)


def _project(name: str, features: Mapping[str, Field], projection: Projection) -> dict[str, Field]:
    """The features of a view that a projection has chosen. Raises RequestError for one that the view does not have."""
    unknown = [field.name for field in projection.features if field.name not in features]
    if unknown:
        raise RequestError(
            f"The projection for {name} cannot be applied because it contains {', '.join(unknown)}, "
            "which the feature view does not have"
        )
    return {field.name: features[field.name] for field in projection.features}


def stored_name(view: str, version: int) -> str:
    """What the online store calls a version of a view. 0 stands for the unversioned rows."""
    return f"{view}_v{version}" if version > 0 else view


def _name_of(projection: Projection) -> str:
    return _versioned(projection.alias or projection.view, projection.version)


def _versioned(name: str, version: int | None) -> str:
    return name if version is None else f"{name}@v{version}"
