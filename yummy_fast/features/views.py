"""Which views a request uses, and under which names: what it asks for, looked up in the registry.

A request asks by a feature service, whose projections choose features and may call a view by an alias, or by a list of
references. Either becomes `Ref`s, one for each feature that is asked for, and `ResolvedViews`, the views that they are
read from or computed by. Views are looked up in Feast's order of checks, because that decides which error wins
(feast/utils.py _get_feature_views_to_use, Feast 0.67.0).

Pure. What a plan makes of it is not known here: see `catalog`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from yummy_fast.errors import NotFoundError, RequestError
from yummy_fast.feast_format.registry import (
    FeatureService,
    FeatureView,
    Field,
    OnDemandFeatureView,
    Projection,
    Registry,
)


class Ref(NamedTuple):
    """One feature that is asked for. `view` is the name it is asked under: an alias, in a service."""

    view: str
    version: int | None
    feature: str
    text: str

    @property
    def used_name(self) -> str:
        """What it calls the view, with @vN."""
        return _versioned(self.view, self.version)


_VERSION = re.compile(r"[vV](\d+)")


def parse_ref(text: str, place: int) -> Ref:
    """ "view:feature" or "view@v2:feature" (feast/utils.py _parse_feature_ref). Raises RequestError."""
    view, colon, feature = text.partition(":")
    if not colon:
        raise RequestError(
            f"features[{place}]: Invalid feature reference '{text}'. "
            "Expected format: '<feature_view>:<feature>' or '<feature_view>@<version>:<feature>'"
        )
    name, at, tag = view.partition("@")
    if at:
        if not tag or tag.lower() == "latest":
            return Ref(name, None, feature, text)
        version = _VERSION.fullmatch(tag)
        if version and len(version[1]) <= 300:  # int() of a text without end would be slow work for an attacker
            return Ref(name, int(version[1]), feature, text)
    return Ref(view, None, feature, text)


def refs_of(service: FeatureService) -> list[Ref]:
    """One for each feature of a service, in its order."""
    return [
        Ref(
            projection.alias or projection.view,
            projection.version,
            field.name,
            f"{_used_name(projection)}:{field.name}",
        )
        for projection in service.projections
        for field in projection.features
    ]


class ResolvedView(NamedTuple):
    """One use of a view by a request: the same view may be used under several aliases with other keys."""

    name: str
    """What requests call the view: alias or name, with @vN."""
    metadata: tuple[str, int]
    """What `feature_view_metadata` says of it: a name, and a version where Feast tells it."""
    store_name: str
    """What the online store calls it."""
    view: FeatureView
    features: Mapping[str, Field]
    join_key_map: Mapping[str, str]
    """Join key -> the name that requests give it."""


class ResolvedOnDemandView(NamedTuple):
    """One use of an on-demand view."""

    view: OnDemandFeatureView
    function: Any
    features: Mapping[str, Field]
    sources: tuple[ResolvedView, ...]
    """What its function sees; all of it is read."""


class ResolvedViews:
    """The views that a request uses, by the names it uses them under."""

    def __init__(self) -> None:
        self.stored: dict[str, ResolvedView] = {}
        self.on_demand: dict[str, ResolvedOnDemandView] = {}
        self.sources: list[ResolvedView] = []
        """What stored on-demand views were computed from. They are not read, but their join keys are typed by them."""

    def add(self, view: ResolvedView) -> None:
        """A view may be used directly and as a source, or twice by a service: what either has can be asked for."""
        before = self.stored.get(view.name)
        if before is not None:
            view = before._replace(features={**before.features, **view.features})
        self.stored[view.name] = view


class Views:
    """The views of one version of the registry, as requests may use them."""

    def __init__(
        self,
        registry: Registry,
        functions: Mapping[tuple[str, int | None], Callable[..., Any] | RequestError],
        *,
        versioning: bool,
        serve_materializing: bool = False,
    ) -> None:
        """
        - `functions`: those of the on-demand views by name and version, or why there is none.
        - `versioning`: registry.enable_online_feature_view_versioning.
        - `serve_materializing`: registry.serve_features_while_materializing.
        """
        self._registry = registry
        self._functions = functions
        self._versioning = versioning
        self._servable = {"STATE_UNSPECIFIED", "AVAILABLE_ONLINE"}
        if serve_materializing:
            self._servable.add("MATERIALIZING")

    def of_service(self, service: FeatureService) -> ResolvedViews:
        """What a service uses. Raises RequestError."""
        resolved = ResolvedViews()
        for projection in service.projections:
            self._resolve(resolved, projection.view, projection.version, projection)
        return resolved

    def of_refs(self, refs: Iterable[Ref]) -> ResolvedViews:
        """What a list of references uses. Raises RequestError."""
        resolved = ResolvedViews()
        for view, version in dict.fromkeys((ref.view, ref.version) for ref in refs):
            self._resolve(resolved, view, version, None)
        return resolved

    def _resolve(self, resolved: ResolvedViews, name: str, version: int | None, projection: Projection | None) -> None:
        """Add a view to `uses`, with the sources of one that is on demand."""
        view = self._find_view(name, version)
        if not isinstance(view, OnDemandFeatureView):
            resolved.add(self._resolve_stored(view, version, projection))
            resolved.sources += [self._resolve_source(source) for source in view.sources]
            return
        function = self._functions[view.name, version]
        if isinstance(function, RequestError):
            raise function.fresh_copy()
        features = {field.name: field for field in view.features}
        if projection is not None:
            features = _project(view.name, features, projection)
        sources = tuple(map(self._resolve_source, view.sources))
        for source in sources:
            resolved.add(source)
        used_name = _used_name(projection) if projection is not None else _versioned(view.name, version)
        resolved.on_demand[used_name] = ResolvedOnDemandView(view, function, features, sources)

    def _resolve_source(self, source: Projection) -> ResolvedView:
        view = self._registry.views.get(source.view)
        if not isinstance(view, FeatureView):
            raise self._no_view(source.view)
        return self._resolve_stored(view, source.version, source)

    def _find_view(self, name: str, version: int | None) -> FeatureView | OnDemandFeatureView:
        """Look a view up as Feast does: existence, then disabled, then state."""
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
                    f"Version v{version} of feature view {name} does not exist in project {project}",
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

    def _no_view(self, name: str) -> NotFoundError:
        return NotFoundError(
            "FeatureViewNotFoundException",
            f"Feature view {name} does not exist in project {self._registry.project}",
        )

    def _resolve_stored(self, view: FeatureView, version: int | None, projection: Projection | None) -> ResolvedView:
        # A service's projection of the current version reads the unversioned rows (Feast: FeatureView.__copy__).
        stored_version = version if version is not None else view.version if projection is None else 0
        store_name = stored_name(view.name, stored_version if self._versioning else 0)
        features = {field.name: field for field in view.features}
        if projection is None:
            return ResolvedView(
                _versioned(view.name, version), (view.name, view.version), store_name, view, features, {}
            )
        return ResolvedView(
            _used_name(projection),
            (projection.alias or view.name, 0),
            store_name,
            view,
            _project(view.name, features, projection),
            projection.join_key_map,
        )


def _project(name: str, features: Mapping[str, Field], projection: Projection) -> dict[str, Field]:
    """The features of a view that a projection has chosen. Raises RequestError for one that the view has not."""
    unknown = [field.name for field in projection.features if field.name not in features]
    if unknown:
        raise RequestError(
            f"The projection for {name} cannot be applied because it contains {', '.join(unknown)}, "
            "which the feature view does not have"
        )
    return {field.name: features[field.name] for field in projection.features}


def stored_name(view: str, version: int) -> str:
    """What the online store calls a version of a view; 0 are the unversioned rows."""
    return f"{view}_v{version}" if version > 0 else view


def _used_name(projection: Projection) -> str:
    return _versioned(projection.alias or projection.view, projection.version)


def _versioned(name: str, version: int | None) -> str:
    return name if version is None else f"{name}@v{version}"
