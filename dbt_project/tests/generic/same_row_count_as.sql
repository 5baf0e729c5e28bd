{#
    A join neither lost nor made rows: as many rows (for which `rows` holds) as `other` has (for which `other_where`
    holds), or `times` as many; `times` is a number or a query that gives one.
#}
{% test same_row_count_as(model, other, rows="true", other_where="true", times="1") %}
    with counted as (
        select
            (select count(*) from {{ model }} where {{ rows }}) as n_here,
            (select count(*) from {{ other }} where {{ other_where }}) as n_there,
            ({{ times }}) as times,
    )

    select
        n_here,
        n_there,
    from counted
    where n_here <> n_there * times
{% endtest %}
