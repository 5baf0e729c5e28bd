-- Cronbach's alpha (1951, eq. 2) over complete answers at T1, and the standard deviation of the scores at T1.
-- Sums are of whole numbers, so that the order of rows cannot change the last digit.
with baseline as (
    select
        supervision_id,
        rater,
        scale,
        form,
        n_items,
        n_valid_items,
        total,
        {{ in_millionths("score") }} as score_millionths,
    from {{ ref("int_scale_score") }}
    where wave = 'T1' and form is not null
),

complete as (
    select
        supervision_id,
        rater,
        scale,
        form,
        n_items,
        total,
    from baseline
    where n_valid_items = n_items
),

item as (
    -- one complete answer to its items
    select
        complete.rater,
        complete.scale,
        complete.form,
        item_score.item,
        {{ scaled_squares("item_score.value") }} as scaled_squares,
    from complete
    inner join {{ ref("int_item_score") }} as item_score
        on
            complete.supervision_id = item_score.supervision_id
            and complete.rater = item_score.rater
            and complete.scale = item_score.scale
            and item_score.wave = 'T1'
    group by all
),

items as (
    select
        rater,
        scale,
        form,
        sum(scaled_squares) as scaled_squares,
    from item
    group by all
),

totals as (
    select
        rater,
        scale,
        form,
        max(n_items) as n_items,
        cast(count(*) as integer) as n_complete,
        {{ scaled_squares("total") }} as scaled_squares,
    from complete
    group by all
),

spread as (
    select
        rater,
        scale,
        form,
        count(score_millionths) as n_scores,
        {{ scaled_squares("score_millionths") }} as scaled_squares,
    from baseline
    group by all
)

-- one to one
select
    spread.rater,
    spread.scale,
    spread.form,
    coalesce(totals.n_complete, 0) as n_complete,
    case
        when totals.n_complete > 1 and totals.scaled_squares > 0 and totals.n_items > 1
            then
                (totals.n_items / cast(totals.n_items - 1 as double))
                * (1 - cast(items.scaled_squares as double) / cast(totals.scaled_squares as double))
    end as alpha,
    case
        when spread.n_scores > 1
            then
                sqrt(
                    cast(spread.scaled_squares as double)
                    / (cast(spread.n_scores as double) * (spread.n_scores - 1))
                )
                / 1000000
    end as baseline_sd,
from spread
left join totals
    on spread.rater = totals.rater and spread.scale = totals.scale and spread.form = totals.form
left join items
    on spread.rater = items.rater and spread.scale = items.scale and spread.form = items.form
